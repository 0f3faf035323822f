"""Files beneath a sandbox: nothing outside can be reached, nothing runs on the event loop.

paths.py checks text, beneath.py opens (by the kernel or by a walk), sandbox.py reads and removes, upload.py writes.
"""

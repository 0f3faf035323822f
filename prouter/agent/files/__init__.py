"""Files beneath a sandbox: nothing outside can be reached, nothing runs on the event loop.

paths.py checks text, beneath.py opens (by the kernel or by a walk), trees.py does with directories what reading and
writing need, plain.py the same where there are no directory descriptors, upload.py writes, sandbox.py is the door.
"""

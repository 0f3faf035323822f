"""Files beneath a sandbox: nothing outside can be reached, nothing runs on the event loop.

paths.py checks text, beneath.py opens (by the kernel or by a walk), trees.py does with directories what reading and
writing need, plain.py the same where there are no directory descriptors, sandbox.py is the door. Behind it: upload.py
writes one file, parts.py one that comes in parts, unpack.py many at once, changes.py lists and moves, walking.py looks
through whole trees, turns.py lets one change a sandbox at a time. deleting.py ends what a job made.
"""

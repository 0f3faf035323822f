"""What runs in the keeper's process: standard library only, relative imports only, all imported at its start.

The keeper is started as a program of its own, with this directory as the package `held`; the agent imports trees.py and
cgroup.py from here, too. Linux only.
"""

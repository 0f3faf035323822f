"""Reading what guard/held/spool.py writes: a job's output, from any offset, also while it grows and is cut off."""

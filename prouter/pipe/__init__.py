"""Pipes: the data plane between a router and an agent of ours.

A pipe is a TCP connection that becomes a tunnel to one target: a job's port, or the agent's own HTTP service.
opening.py gets one (tickets.py says who may), bind.py says where it goes, upstream.py is the router's end,
agent_end.py the agent's (pair.py what it joins, passing.py what passes), pool.py keeps them.
"""

"""Agents that speak the original protocol only: an adapter of its streams behind the interface of pipes, and its jobs.

gateway.py plays the agent's end of a pipe inside this process; proxy.py, websockets.py and transfer.py say in v1 calls
what came through it; spill.py and pacing.py stand for the flow control that the protocol has not.
"""

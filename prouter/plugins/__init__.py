"""What ships with prouter: each an ordinary plugin on the public hooks, found by entry points, switched off by name.

A plugin imports prouter, the hookspecs, model and errors; never core, agent or another plugin. Feature by feature:
a feature with a router half and an agent half keeps both side by side.
"""

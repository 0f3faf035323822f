"""What prouter costs on a machine: beside other proxies (proxies/), its basics (basics/), its plugins (hooks.py).

daemons.py starts a router and an agent, costs.py reads what processes cost, machine.py says what was measured where,
rows.py keeps raw rows and pages.py puts what is told of them into the documentation.
"""

"""prouter beside the proxies that people use, in interleaved rounds on one machine.

run.py is the command; systems.py starts what is compared, loads.py puts load on it, costs.py reads what it cost,
telling.py makes the table, the chart and the README's lines of the raw rows.
"""

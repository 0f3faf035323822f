"""prouter beside the proxies that people use, in interleaved rounds on one machine.

run.py is the command; systems.py starts what is compared, loads.py puts load on it, upstream.py and sockets.py are the
two ends as programs of their own. figures.py knows what raw rows mean and what the goals are, telling.py and chart.py
make the tables, sentences and the picture of them.
"""

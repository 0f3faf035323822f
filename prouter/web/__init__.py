"""The acceptor of both daemons: reads heads, then relays, serves or tunnels each request on one mechanism.

acceptor.py listens, connection.py is the client's side, exchange.py carries one request, stand_in.py lends a request to
aiohttp, routes.py and serve.py are the API's side, problem.py the form of errors.
"""

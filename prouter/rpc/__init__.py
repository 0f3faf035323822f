"""pRpc v1, the protocol of control links, the same on both sides.

Pure: limits.py, msgpack_scan.py, messages.py, machine.py. With asyncio: streams.py, methods.py, calls.py,
connection.py (`Link`). With aiohttp and sockets: websocket.py. Import from the modules themselves.
"""

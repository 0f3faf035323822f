"""A Websocket server that sends every message back, and judges frames strictly."""

from __future__ import annotations

import asyncio
import logging

from listening_jobs import listening
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def talk(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass  # what was wrong with it is told to the client


async def main() -> None:
    logging.disable(logging.ERROR)
    async with serve(talk, sock=listening(), max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())

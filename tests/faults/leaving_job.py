"""A job's server behind routers that end: answers that wait for a file in its sandbox, slow ones, a Websocket."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aiohttp import web

GO = Path("go")
BEGUN: list[str] = []
WAITING: list[asyncio.Task[None]] = []
"""The one that looks for the file: thousands that did would have a processor for themselves."""


async def held(request: web.Request) -> web.Response:
    """Once the file is there; the answer is what the request carried."""
    body = await request.read()
    BEGUN.append(request.path)
    if not WAITING or WAITING[0].done():
        WAITING[:] = [asyncio.create_task(until_it_is_there())]
    await asyncio.wait(WAITING)
    return web.Response(body=body or b"held")


async def until_it_is_there() -> None:
    while not GO.exists():
        await asyncio.sleep(0.05)


async def begun(request: web.Request) -> web.Response:
    return web.Response(text=str(len(BEGUN)))


async def quick(request: web.Request) -> web.Response:
    return web.Response(text=str(os.getpid()))


async def slow(request: web.Request) -> web.StreamResponse:
    """In pieces over so many seconds."""
    seconds, began = float(request.query["seconds"]), time.monotonic()
    answer = web.StreamResponse()
    await answer.prepare(request)
    while time.monotonic() - began < seconds:
        await answer.write(b"x" * 1000)
        await asyncio.sleep(0.05)
    await answer.write(b"over")
    return answer


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("hello")
    async for message in socket:
        await socket.send_str(message.data)
    return socket


app = web.Application(client_max_size=2**30)
app.add_routes(
    [
        web.route("*", "/held", held),
        web.get("/begun", begun),
        web.route("*", "/quick", quick),
        web.get("/slow", slow),
        web.get("/echo", echo),
    ]
)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, backlog=4096)

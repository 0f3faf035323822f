"""A web server that runs as a job: streams of random pieces both ways, idle Websockets, and pauses on demand.

Tests import `pieces`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from collections.abc import Iterator

from aiohttp import web

PIECE = random.Random(0).randbytes(1 << 20)


def pieces(seed: int, size: int) -> Iterator[bytes]:
    """So many bytes, in pieces whose sizes and contents are random, and the same for the same seed."""
    chance = random.Random(seed)
    while size:
        begin, most = chance.randrange(len(PIECE)), min(size, chance.randint(1, 1 << chance.randint(1, 18)))
        piece = PIECE[begin : begin + most]
        yield piece
        size -= len(piece)


async def down(request: web.Request) -> web.StreamResponse:
    """`bytes` in chunks of random sizes; `dies`: so many of them, then this process is gone."""
    answer = web.StreamResponse()
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    last = int(request.query.get("dies", "0"))
    for number, piece in enumerate(pieces(int(request.query["seed"]), int(request.query["bytes"])), 1):
        await answer.write(piece)
        if number == last:
            await asyncio.sleep(0.2)  # so that they are on their way
            os.kill(os.getpid(), signal.SIGKILL)
    return answer


async def up(request: web.Request) -> web.Response:
    """Of the body: its size and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    async for data in request.content.iter_any():
        digest.update(data)
        size += len(data)
    return web.json_response({"bytes": size, "sha256": digest.hexdigest()})


async def bulk(request: web.Request) -> web.StreamResponse:
    """Without end."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(PIECE[:65536])


async def until_close(request: web.Request) -> web.StreamResponse:
    """Without end, and only the connection's could be its end."""
    transport = request.transport
    assert transport is not None
    transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while not transport.is_closing():
        if transport.get_write_buffer_size() < len(PIECE):
            transport.write(PIECE[:65536])
        await asyncio.sleep(0.001)
    return web.Response()


async def stalls(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return await up(request)


async def asks_late(request: web.Request) -> None:
    await asyncio.sleep(float(request.query["seconds"]))
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def small(request: web.Request) -> web.Response:
    return web.Response(text="small")


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """An echo."""
    answer = web.WebSocketResponse(compress=False)
    await answer.prepare(request)
    async for message in answer:
        await answer.send_str(message.data)
    return answer


def main() -> None:
    app = web.Application(client_max_size=1 << 40)
    app.router.add_get("/down", down)
    app.router.add_post("/up", up)
    app.router.add_get("/bulk", bulk)
    app.router.add_get("/until-close", until_close)
    app.router.add_post("/stalls", stalls)
    app.router.add_post("/asks", up, expect_handler=asks_late)
    app.router.add_get("/small", small)
    app.router.add_get("/websocket", websocket)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None)


if __name__ == "__main__":
    main()

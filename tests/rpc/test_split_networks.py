"""Links over real websockets whose bytes come in pieces of any size, late, and not always to the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bad_networks import CALLS, HELLO, SECONDS, Caller, check_heard, offered

from prouter.errors import LinkError
from prouter.rpc import websocket
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType
from prouter.testing import BrokenNetwork


class NoLimit:
    """What a peer may send before it has proved who it is: everything."""

    def lift(self) -> None:
        pass


@asynccontextmanager
async def line_to(heard: dict[int, list[int]], seed: int, cut_after: int | None) -> AsyncIterator[int]:
    """The port of a line with a link that offers all kinds of calls at its other end."""

    async def anybody(data: Mapping[str, Any]) -> Mapping[str, Any]:
        return HELLO

    async def accept(request: web.Request) -> web.StreamResponse:
        channel = await websocket.accept(request, ping_interval_seconds=5, allowance=NoLimit())
        try:
            link = await Link.accept(channel, authenticate=anybody, methods=offered(heard))
            await link.run()
        except LinkError:
            pass
        return channel.response

    app = web.Application()
    app.router.add_get(websocket.PATH, accept)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with BrokenNetwork(runner.addresses[0][:2], seed=seed, cut_after=cut_after) as line:
            for way in (line.there, line.back):
                way.pieces, way.late = (1, 2, 7, 100, 4000), 0.05
            yield line.address[1]
    finally:
        await runner.cleanup()


@settings(deadline=None, max_examples=30)
@given(calls=CALLS, seed=st.integers(0, 2**32), cut_after=st.none() | st.integers(0, 5000))
def test_calls_end_and_streams_are_whole_or_a_beginning_whatever_the_pieces(
    calls: list[tuple[CallType, int, int | None]], seed: int, cut_after: int | None
) -> None:
    asyncio.run(_story(calls, seed, cut_after))


async def _story(calls: list[tuple[CallType, int, int | None]], seed: int, cut_after: int | None) -> None:
    heard: dict[int, list[int]] = {number: [] for number in range(len(calls))}
    async with asyncio.timeout(SECONDS), line_to(heard, seed, cut_after) as port:
        try:
            channel = await websocket.dial("127.0.0.1", port, ping_interval_seconds=5)
            link = await Link.connect(channel, user_data=HELLO)
        except LinkError:
            assert cut_after is not None
            return
        running = asyncio.create_task(link.run())
        callers = [Caller(link, number, *call) for number, call in enumerate(calls)]
        await asyncio.gather(*(caller.run() for caller in callers))
        await link.close()
        await running
    for caller in callers:
        check_heard(caller, heard[caller.number], cut=cut_after is not None)

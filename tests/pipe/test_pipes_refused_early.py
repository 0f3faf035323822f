"""A refusal that comes with the pipe itself, as that of an agent that was dialed may, is told to who uses the pipe."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from prouter.errors import ProuterError, Unavailable
from prouter.pipe.asking import Place
from prouter.pipe.pool import PipePool, PoolLimits
from prouter.pluginkit.tasks import TaskOwner


class Told:
    """Of a Carrier: how it ends."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[tuple[ProuterError, bool]] = asyncio.get_running_loop().create_future()

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        self.failure.set_result((error, untouched))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was told of a pipe that was refused")


async def test_a_refusal_that_came_with_the_pipe() -> None:
    loop, tasks = asyncio.get_running_loop(), TaskOwner("test")

    async def source(count: int, place: Place) -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        transport.pause_reading()
        place(transport, b"no 503 the agent has 2 pipes, which is its limit\n")

    near, far = socket.socketpair()
    pool = PipePool(source, tasks, PoolLimits(warm=0, warm_most=0), "agent")
    pipe = await pool.take(b"job 1 http 1\n", max_idle_seconds=-1.0)
    carrier = Told()
    pipe.begin(carrier, b"GET / HTTP/1.1\r\n\r\n", "GET")  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        error, untouched = await carrier.failure
    assert isinstance(error, Unavailable)
    assert "which is its limit" in error.detail
    assert not untouched, "another try would be told the same"
    pool.abort()
    await tasks.close()
    far.close()

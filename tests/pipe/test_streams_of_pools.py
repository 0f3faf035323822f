"""Who gets no pipe is told by one of our errors, in time, and what was opened for it is not counted any more."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import struct

import pytest

from prouter.errors import TimedOut, Unavailable, UpstreamFailed
from prouter.pipe.asking import Place
from prouter.pipe.pool import PipePool, PoolLimits
from prouter.pipe.steps import begin
from prouter.pluginkit.tasks import TaskOwner

LIMITS = PoolLimits(warm=0, warm_most=0, wait_seconds=1.0)


@pytest.mark.parametrize(
    ("says", "error"), [("a reset", UpstreamFailed), ("a line without an end", UpstreamFailed), ("nothing", TimedOut)]
)
async def test_a_stream_that_is_not_bound(says: str, error: type[Exception]) -> None:
    loop, tasks = asyncio.get_running_loop(), TaskOwner("test")
    listener = socket.create_server(("127.0.0.1", 0))

    async def agent(far: socket.socket) -> None:
        await loop.sock_recv(far, 100)
        if says == "a line without an end":
            await loop.sock_sendall(far, b"x" * 300_000)
        if says == "a reset":
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()

    agents = []

    async def source(count: int, place: Place) -> None:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        far.setblocking(False)
        held.append(far)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        transport.pause_reading()
        place(transport, b"")
        agents.append(asyncio.create_task(agent(far)))

    held = [listener]
    pool = PipePool(source, tasks, LIMITS, "agent")
    with pytest.raises(error):
        async with pool.stream(b"job 1 http 1\n"):
            raise AssertionError("it was not bound")
    assert pool.size == 0
    pool.abort()
    await asyncio.gather(*agents, return_exceptions=True)
    await tasks.close()
    for each in held:
        each.close()


async def test_who_asks_while_the_link_ends_is_told_so_at_once() -> None:
    async def source(count: int, place: Place) -> None:
        raise AssertionError("nobody is asked any more")

    loop, tasks = asyncio.get_running_loop(), TaskOwner("test")
    pool = PipePool(source, tasks, LIMITS, "agent")
    told: asyncio.Future[asyncio.Task[None]] = loop.create_future()

    async def take() -> None:
        await pool.take(b"job 1 http 1\n", max_idle_seconds=-1.0)

    def asked_without_a_task() -> None:
        rest = begin(take(), contextvars.copy_context())
        assert rest is not None
        pool.close()
        told.set_result(loop.create_task(rest))

    loop.call_soon(asked_without_a_task)
    with pytest.raises(Unavailable, match="ended"):
        await (await told)
    await tasks.close()

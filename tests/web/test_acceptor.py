"""A listener bounds its connections and ends in order: idle ones at once, busy ones behind their answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from prouter.model.http import Reply
from prouter.model.trail import Trail
from prouter.model.trail import current as trail
from prouter.pipe.steps import in_a_task
from prouter.web.acceptor import LAST_SECONDS, Acceptor
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Incoming, Outcome, Serve

REQUEST = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Waiting:
    """A Dispatcher that answers when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def dispatch(self, incoming: Incoming) -> Outcome:
        if incoming.head.target == "/wait":
            self.asked.set()
            await self.let.wait()
        return Reply.text(incoming.head.target)


class Endpoint:
    def __init__(self) -> None:
        self.dispatcher = Waiting()
        self.acceptor = Acceptor("test", self.dispatcher, WebLimits(connections=3, linger_seconds=0.1))
        self.address = ("", 0)
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, *requests: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        writer.write(b"".join(REQUEST % name for name in requests))
        return reader


async def answered(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection closes."""
    async with asyncio.timeout(10):
        return await reader.read()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    made.address = await made.acceptor.listen("127.0.0.1", 0)
    yield made
    await made.acceptor.drain(0.1)
    for writer in made.writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_one_connection_too_many_is_told_so_and_closed(endpoint: Endpoint) -> None:
    readers = [await endpoint.connect(b"a") for _ in range(3)]
    for reader in readers:
        async with asyncio.timeout(10):
            assert await reader.readuntil(b"/a")
    assert (await answered(await endpoint.connect())).startswith(b"HTTP/1.1 503 ")
    endpoint.writers[0].close()
    async with asyncio.timeout(10):
        while not (await (await endpoint.connect(b"b", b"b")).readline()).startswith(b"HTTP/1.1 200 "):
            pass


async def test_at_its_end_idle_connections_close_and_busy_ones_get_their_answer(endpoint: Endpoint) -> None:
    idle, busy = await endpoint.connect(), await endpoint.connect(b"wait", b"next")
    await endpoint.dispatcher.asked.wait()
    draining = asyncio.create_task(endpoint.acceptor.drain(10))
    assert await answered(idle) == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*endpoint.address)
    endpoint.dispatcher.let.set()
    answer = await answered(busy)
    assert answer.endswith(b"/wait")
    assert b"Connection: close\r\n" in answer
    await draining


@pytest.mark.parametrize("turns", range(6))
async def test_who_was_taken_just_before_the_end_is_closed_too(endpoint: Endpoint, turns: int) -> None:
    """Between the moment that a connection is taken and the one in which it is known are some turns of the loop."""
    with socket.socket() as client:
        client.connect(endpoint.address)
        for _ in range(turns):
            await asyncio.sleep(0)
        await endpoint.acceptor.drain(10)
        client.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""


@pytest.mark.parametrize("turns", range(4))
async def test_a_request_that_is_read_as_it_ends_has_until_the_deadline(endpoint: Endpoint, turns: int) -> None:
    reader = await endpoint.connect()
    endpoint.writers[-1].write(REQUEST % b"wait")
    for _ in range(turns):
        await asyncio.sleep(0)
    draining = asyncio.create_task(endpoint.acceptor.drain(10))
    answering = asyncio.create_task(answered(reader))
    asked = asyncio.create_task(endpoint.dispatcher.asked.wait())
    await asyncio.wait((asked, answering), return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        await asyncio.wait((answering,), timeout=LAST_SECONDS + 0.3)  # longer than who is overlooked is waited for
        endpoint.dispatcher.let.set()
        assert (await answering).endswith(b"/wait")
    else:
        assert await answering == b""  # it was closed as idle before the request was read
        asked.cancel()
    await draining


async def test_what_is_busy_at_the_deadline_is_cut(endpoint: Endpoint) -> None:
    busy = await endpoint.connect(b"wait")
    await endpoint.dispatcher.asked.wait()
    await endpoint.acceptor.drain(0.1)
    with contextlib.suppress(ConnectionResetError):
        assert await answered(busy) == b""


async def test_a_request_knows_nothing_of_what_was_decided_about_the_one_before(endpoint: Endpoint) -> None:
    """Reading is resumed amid a request, whose context the event loop then takes for all that follows."""
    found: list[Trail | None] = []

    async def dispatch(incoming: Incoming) -> Outcome:
        found.append(trail.get())
        trail.set(Trail())
        if incoming.head.method == "POST":
            await in_a_task()
            await asyncio.sleep(0.05)  # so much of its body comes meanwhile that no more is read
            return Serve(read)
        return Reply.text("ok")

    async def read(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(text="read")

    endpoint.dispatcher.dispatch = dispatch  # type: ignore[method-assign]
    reader = await endpoint.connect()
    body = b"x" * 1_000_000
    endpoint.writers[-1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"read")).startswith(b"HTTP/1.1 200 ")
        endpoint.writers[-1].write(REQUEST % b"next")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    assert found == [None, None]

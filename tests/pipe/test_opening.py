"""Opening a pipe at a real acceptor: a ticket opens one, once, in time; whatever else comes is 404 and closed on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from prouter.errors import RemoteProtocolError
from prouter.model.agents import PRODUCT_CAPABILITIES, Hello
from prouter.pipe.opening import open_pipe, open_websocket_pipe, opening_request
from prouter.pipe.tickets import TicketBook
from prouter.testing.fake_agent import linked
from prouter.web.acceptor import Acceptor
from prouter.web.limits import WebLimits
from prouter.web.link_door import Accept, LinkDoor


class Door:
    """An endpoint for pipes; what is sent on one comes back in capitals."""

    def __init__(self) -> None:
        self.now = 0.0
        self.book: TicketBook[str] = TicketBook(lambda: self.now)
        self.acceptor = Acceptor("test", LinkDoor(self._redeem, _no_links, 5.0), WebLimits(linger_seconds=0.1))
        self.address = ("", 0)

    def _redeem(self, ticket: str) -> Accept | None:
        return self._accept if self.book.redeem(ticket) is not None else None

    def _accept(self, transport: asyncio.Transport, leftover: bytes) -> None:
        transport.write(leftover.upper())
        transport.close()

    async def says(self, data: bytes) -> bytes:
        """All that it answers, until it closes."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(data)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def _no_links(*_: object) -> None:
    raise AssertionError("no link is dialed here")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    made.address = await made.acceptor.listen("127.0.0.1", 0)
    yield made
    await made.acceptor.drain(1.0)


async def test_a_ticket_opens_a_pipe_and_bytes_behind_the_request_are_not_lost(door: Door) -> None:
    answer = await door.says(opening_request(*door.address, door.book.issue("link")) + b"early")
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Upgrade: prouter-pipe/1" in head.split(b"\r\n")
    assert rest == b"EARLY"


async def test_a_ticket_that_is_used_late_or_wrong_is_404_and_the_connection_closes(door: Door) -> None:
    used, late = door.book.issue("link"), door.book.issue("link")
    assert (await door.says(opening_request(*door.address, used))).startswith(b"HTTP/1.1 101 ")
    door.now = 11.0
    for ticket in (used, late, "0" * 32, "x"):
        request = opening_request(*door.address, ticket)
        assert (await door.says(request + request)).count(b"HTTP/1.1 404 ") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"prouter-pipe/1", b"prouter-pipe/2"),
        (b"Connection: Upgrade\r\n", b"Connection: close\r\n"),
        (b"Ticket", b"Bearer"),
        (b"GET", b"POST"),
        (b"/pipe/v1", b"/pipe/v2"),
    ],
)
async def test_only_the_one_opening_request_opens(door: Door, old: bytes, new: bytes) -> None:
    request = opening_request(*door.address, door.book.issue("link"))
    assert (await door.says(request.replace(old, new))).startswith(b"HTTP/1.1 404 ")


async def test_who_dials_is_told_of_a_refusal_and_leaves_nothing_open(door: Door) -> None:
    with pytest.raises(RemoteProtocolError):
        await open_pipe(*door.address, "0" * 32)
    transport, leftover = await open_pipe(*door.address, door.book.issue("link"))
    assert leftover == b""
    transport.abort()
    await asyncio.sleep(0)


async def test_both_daemons_take_no_pipe_without_a_ticket(fleet) -> None:
    router, agent = await fleet.pair()
    for host, port in (router.address("server"), agent.address("server")):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(opening_request(host, port, "0" * 32))
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_ticket_of_an_agent_that_we_dialed_opens_one_pipe_of_its_link(fleet) -> None:
    agent = fleet.agent()
    hello = Hello(
        "router", "router", agent.token, version="1", boot="boot", capabilities=frozenset(PRODUCT_CAPABILITIES)
    )
    address = agent.address("server")
    async with linked(address, hello) as rpc:
        number = Hello.from_wire(rpc.peer).link
        once, other, late = await rpc.call("pipe_tickets", 3, timeout_seconds=20)
        for bound, ticket in ((number, once), (number + 1, other)):
            transport, leftover = await open_pipe(*address, ticket)
            transport.set_protocol(asyncio.StreamReaderProtocol(reader := asyncio.StreamReader()))
            reader.feed_data(leftover)
            transport.write(f"agent {bound}\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            transport.resume_reading()
            async with asyncio.timeout(20):
                said = await reader.readline()
            assert said == (b"ok\n" if bound == number else b"no 503 the line is of another link\n")
            transport.abort()
        with pytest.raises(RemoteProtocolError):
            await open_websocket_pipe(*address, once)
    with pytest.raises(RemoteProtocolError):
        await open_pipe(*address, late)

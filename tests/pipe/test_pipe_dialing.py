"""Which way pipes go is found out once, remembered, and found out anew when it does not work any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from prouter.errors import LinkClosed, RemoteProtocolError
from prouter.pipe.dialing import REFUSED_BEFORE_DOUBT, PipeDialer
from prouter.pipe.opening import UPGRADE, websocket_request
from prouter.pipe.tickets import TicketBook
from prouter.web.acceptor import Acceptor
from prouter.web.limits import WebLimits
from prouter.web.link_door import Accept, LinkDoor

REFUSALS = {
    "the upgrade is dropped": None,
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.0 502 Bad Gateway\r\n\r\n",
    "another upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "no upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "no HTTP": b"220 mail.example.org\r\n\r\n",
    "hung up": b"",
    "silence": b"silence",
}


class Way:
    """An acceptor of pipes, and what stands in front of it."""

    def __init__(self) -> None:
        self.book: TicketBook[str] = TicketBook()
        self.asked: list[str] = []
        """The upgrades that were asked for."""
        self.answers: dict[str, bytes | None] = {}
        """What stands there says to such an upgrade instead; None: it takes the header out."""
        self.behind = Acceptor("test", LinkDoor(self._redeem, _no_links, 5.0), WebLimits(linger_seconds=0.1))
        self.far = ("", 0)
        self._server: asyncio.Server
        self._open: set[asyncio.Task[None]] = set()
        self.loses_answers = False

    async def __aenter__(self) -> Way:
        self.far = await self.behind.listen("127.0.0.1", 0)
        self._server = await asyncio.start_server(self._visited, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self.behind.drain(1.0)

    def dialer(self, **how: float) -> PipeDialer:
        return PipeDialer(*self._server.sockets[0].getsockname(), **how)

    async def opens(self, dialer: PipeDialer) -> bool:
        """Whether the pipe that opened is a websocket; it echoes in capitals."""
        transport, leftover = await dialer.open(self.book.issue("link"))
        reader = asyncio.StreamReader()
        reader.feed_data(leftover)
        transport.set_protocol(asyncio.StreamReaderProtocol(reader))
        transport.write(b"hello")
        transport.resume_reading()
        async with asyncio.timeout(10):
            assert await reader.readexactly(5) == b"HELLO"
        transport.abort()
        return bool(transport.get_extra_info("websocket"))

    def _redeem(self, ticket: str) -> Accept | None:
        return self._accept if self.book.redeem(ticket) is not None else None

    def _accept(self, transport: asyncio.Transport, leftover: bytes) -> None:
        class Capitals(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                transport.write(data.upper())

        transport.set_protocol(Capitals())
        transport.resume_reading()
        assert leftover == b""

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        writers = [writer]
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            upgrade = next(line[9:] for line in head.decode().split("\r\n") if line.startswith("Upgrade: "))
            self.asked.append(upgrade)
            answer = self.answers.get(upgrade, head)
            if answer is None:
                head = head.replace(b"Upgrade: " + upgrade.encode() + b"\r\n", b"")
            elif answer != head and not self.loses_answers:
                await self._says(reader, writer, answer)
                return
            far_reader, far_writer = await asyncio.open_connection(*self.far)
            writers.append(far_writer)
            far_writer.write(head)
            if answer not in (head, None) and self.loses_answers:
                await far_reader.readuntil(b"\r\n\r\n")
                await self._says(reader, writer, answer)
                return
            await asyncio.wait(
                [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))]
            )
        except ConnectionError:
            pass
        finally:
            for each in writers:
                each.transport.abort()

    @staticmethod
    async def _says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes | None) -> None:
        if answer == b"silence":
            await reader.read()
            return
        writer.write(answer or b"")
        writer.close()
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def _no_links(*_: object) -> None:
    raise AssertionError("no link is dialed here")


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    async with Way() as made:
        yield made


async def test_plain_tcp_is_taken_where_it_passes(way: Way) -> None:
    dialer = way.dialer()
    assert [await way.opens(dialer) for _ in range(3)] == [False, False, False]
    assert way.asked == [UPGRADE] * 3


@pytest.mark.parametrize("how", REFUSALS)
async def test_where_it_does_not_a_websocket_is_taken_and_remembered(way: Way, how: str) -> None:
    way.answers[UPGRADE] = REFUSALS[how]
    dialer = way.dialer(try_seconds=0.3)
    assert await asyncio.gather(*(way.opens(dialer) for _ in range(5))) == [True] * 5
    assert way.asked == [UPGRADE, *["websocket"] * 5], "what does not pass is tried once, by one of many"


async def test_a_ticket_used_up_behind_an_answer_that_got_lost_is_not_the_end(way: Way) -> None:
    way.answers[UPGRADE], way.loses_answers = REFUSALS["502"], True
    dialer = way.dialer()
    with pytest.raises(RemoteProtocolError):
        await way.opens(dialer)
    assert await way.opens(dialer)
    assert way.asked == [UPGRADE, "websocket", "websocket"]


async def test_what_passes_is_found_out_anew_when_it_does_not_any_more(way: Way) -> None:
    dialer = way.dialer()
    assert not await way.opens(dialer)
    way.answers[UPGRADE] = REFUSALS["403"]
    for _ in range(REFUSED_BEFORE_DOUBT):
        with pytest.raises(RemoteProtocolError):
            await way.opens(dialer)
    assert await way.opens(dialer)


async def test_who_was_only_slow_at_the_beginning_is_tried_once_more(way: Way) -> None:
    way.answers[UPGRADE] = REFUSALS["silence"]
    dialer = way.dialer(try_seconds=0.1, again_seconds=0.0)
    assert await way.opens(dialer)
    del way.answers[UPGRADE]
    assert [await way.opens(dialer) for _ in range(2)] == [False, False]


async def test_who_stays_silent_is_tried_no_third_time(way: Way) -> None:
    way.answers[UPGRADE] = REFUSALS["silence"]
    dialer = way.dialer(try_seconds=0.1, again_seconds=0.0)
    assert [await way.opens(dialer) for _ in range(4)] == [True] * 4
    assert way.asked.count(UPGRADE) == 2


async def test_a_late_ticket_changes_nothing(way: Way) -> None:
    dialer = way.dialer()
    assert not await way.opens(dialer)
    with pytest.raises(RemoteProtocolError):
        await dialer.open("0" * 32)
    assert not await way.opens(dialer)
    assert "websocket" not in way.asked


async def test_where_nobody_listens_nothing_is_learned(way: Way, unused_tcp_port_factory: Callable[[], int]) -> None:
    with pytest.raises(LinkClosed):
        await PipeDialer("127.0.0.1", unused_tcp_port_factory()).open("0" * 32)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v1.pipe.prouter", b"v1.prpc.datadvance"),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"),
        (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x"),
        (b"Sec-WebSocket-Protocol: v1.pipe.prouter\r\n", b""),
        (b"Ticket ", b"Bearer "),
    ],
)
async def test_a_handshake_that_is_none_uses_no_ticket_up(way: Way, old: bytes, new: bytes) -> None:
    ticket = way.book.issue("link")
    request = websocket_request("127.0.0.1", 1, ticket, "dGhlIHNhbXBsZSBub25jZQ==")
    reader, writer = await asyncio.open_connection(*way.far)
    writer.write(request.replace(old, new))
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await writer.wait_closed()
    reader, writer = await asyncio.open_connection(*way.far)
    writer.write(request)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head  # of RFC 6455 1.3
    writer.transport.abort()


async def test_after_many_late_tickets_tcp_is_tried_again(way: Way) -> None:
    """Refused both ways, nothing is known of the way: a websocket that opens then proves nothing against TCP."""
    dialer = way.dialer(again_seconds=0.0)
    assert not await way.opens(dialer)
    for _ in range(REFUSED_BEFORE_DOUBT + 1):
        with pytest.raises(RemoteProtocolError):
            await dialer.open("0" * 32)
    assert [await way.opens(dialer) for _ in range(3)][1:] == [False, False]

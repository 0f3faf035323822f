"""A pipe that is a websocket behaves as a transport does: order, ends and resets, pauses both ways."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from websockets.frames import Frame as OtherFrame
from websockets.frames import Opcode

from prouter.pipe import websocket
from prouter.pipe.reset import cut_at_close, end_at_close, half_close, reset
from prouter.pipe.websocket import WebsocketTransport
from prouter.testing import eventually

SECONDS = 10.0


class Told(asyncio.Protocol):
    """What a protocol is told, in order."""

    def __init__(self, transport: asyncio.Transport, *, stays: bool = True) -> None:
        self.transport = transport
        self.stays = stays
        self.data = bytearray()
        self.order: list[str] = []
        self.lost: Exception | bool | None = False
        self.slow = False
        transport.set_protocol(self)
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.order.append("data")

    def eof_received(self) -> bool:
        self.order.append("eof")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.order.append("lost")
        self.lost = exc

    def pause_writing(self) -> None:
        self.slow = True

    def resume_writing(self) -> None:
        self.slow = False

    async def hears(self, what: str) -> None:
        await eventually(lambda: what in self.order, seconds=SECONDS)


class Both:
    def __init__(self, dialed: Told, accepted: Told) -> None:
        self.dialed, self.accepted = dialed, accepted
        self.sides = (dialed, accepted)


async def _raw(sock: socket.socket) -> asyncio.Transport:
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=sock)
    transport.pause_reading()
    return transport


def _pair() -> tuple[socket.socket, socket.socket]:
    """Over TCP, so that a reset is one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for each in (one, other):
        each.setblocking(False)
    return one, other


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    one, other = _pair()
    made = Both(
        Told(WebsocketTransport(await _raw(one), dialed=True)),
        Told(WebsocketTransport(await _raw(other), dialed=False)),
    )
    yield made
    for side in made.sides:
        side.transport.abort()
        await side.hears("lost")


async def test_bytes_pass_both_ways_whole(both: Both) -> None:
    for sender, receiver in (both.sides, both.sides[::-1]):
        sender.transport.write(b"one")
        sender.transport.writelines([b"two", bytearray(b"three"), memoryview(b"x" * 300_000)])
        await eventually(lambda receiver=receiver: len(receiver.data) == 300_011, seconds=SECONDS)
        assert receiver.data == b"onetwothree" + b"x" * 300_000


async def test_a_half_close_leaves_the_other_way_open_and_then_both_close(both: Both) -> None:
    for sender, receiver in (both.sides, both.sides[::-1]):
        sender.transport.write(b"last")
        half_close(sender.transport)
        sender.transport.write(b"too late")
        await receiver.hears("eof")
        assert receiver.data == b"last"
        assert not receiver.transport.is_closing()
    for side in both.sides:
        side.transport.close()
        await side.hears("lost")
        assert side.lost is None
        assert side.order == ["data", "eof", "lost"]


async def test_a_close_behind_much_that_was_written_loses_none_of_it(both: Both) -> None:
    both.accepted.transport.write(b"x" * 20_000_000)
    both.accepted.transport.close()
    assert both.accepted.transport.is_closing()
    await both.dialed.hears("eof")
    assert len(both.dialed.data) == 20_000_000


async def test_who_does_not_stay_at_the_end_closes_in_order(both: Both) -> None:
    both.accepted.stays = False
    both.dialed.transport.write_eof()
    await both.accepted.hears("lost")
    assert both.accepted.lost is None
    await both.dialed.hears("eof")


@pytest.mark.parametrize("how", ["reset", "abort", "close that is to be a cut", "the process is killed"])
async def test_an_end_without_close_1000_is_a_reset(both: Both, how: str) -> None:
    both.dialed.transport.write(b"begun")
    await both.accepted.hears("data")
    match how:
        case "reset":
            reset(both.dialed.transport)
        case "abort":
            both.dialed.transport.abort()
        case "close that is to be a cut":
            cut_at_close(both.dialed.transport)
            both.dialed.transport.close()
        case _:
            both.dialed.transport._raw.close()  # type: ignore[attr-defined]
    await both.accepted.hears("lost")
    assert isinstance(both.accepted.lost, ConnectionError)
    assert "eof" not in both.accepted.order


async def test_a_close_is_an_end_again_when_it_is_said_so(both: Both) -> None:
    cut_at_close(both.dialed.transport)
    end_at_close(both.dialed.transport)
    both.dialed.transport.close()
    await both.accepted.hears("eof")


async def test_nothing_is_told_while_reading_is_paused_and_the_end_comes_behind_all_bytes(both: Both) -> None:
    both.accepted.transport.pause_reading()
    assert not both.accepted.transport.is_reading()
    both.dialed.transport.write(b"x" * 1000)
    both.dialed.transport.write_eof()
    await asyncio.sleep(0.05)
    assert both.accepted.order == []

    class PausesAtOnce(Told):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    picky = PausesAtOnce(both.accepted.transport)
    await picky.hears("data")
    await asyncio.sleep(0.05)
    assert picky.order == ["data"], "the end waits for who does not read"
    picky.transport.resume_reading()
    await picky.hears("eof")
    both.accepted = picky
    both.sides = (both.dialed, picky)


async def test_who_writes_faster_than_the_other_reads_is_told(both: Both) -> None:
    both.accepted.transport.pause_reading()
    while not both.dialed.slow:
        both.dialed.transport.write(b"x" * 1_000_000)
        await asyncio.sleep(0)
    assert both.dialed.transport.get_write_buffer_size() < 4_000_000
    both.accepted.transport.resume_reading()
    await eventually(lambda: not both.dialed.slow, seconds=SECONDS)


async def test_bytes_and_the_end_that_came_with_the_handshake_are_not_lost() -> None:
    one, other = _pair()
    transport = WebsocketTransport(await _raw(one), dialed=True)
    early = OtherFrame(Opcode.BINARY, b"early").serialize(mask=False)
    end = OtherFrame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False)
    assert transport.early(early + end) == b"early"
    told = Told(transport)
    await told.hears("eof")
    transport.close()
    await told.hears("lost")
    other.close()


@pytest.mark.parametrize(
    "frames",
    [
        OtherFrame(Opcode.CLOSE, b"\x03\xe9").serialize(mask=False),
        OtherFrame(Opcode.CLOSE, b"").serialize(mask=False),
        OtherFrame(Opcode.TEXT, b"text").serialize(mask=False),
        OtherFrame(Opcode.BINARY, b"masked").serialize(mask=True),
    ],
    ids=["another code", "no code", "text", "wrong mask"],
)
async def test_any_other_end_and_what_is_no_frame_is_a_reset(frames: bytes) -> None:
    one, other = _pair()
    told = Told(WebsocketTransport(await _raw(one), dialed=True))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(other, OtherFrame(Opcode.BINARY, b"good").serialize(mask=False) + frames)
    await told.hears("lost")
    assert isinstance(told.lost, ConnectionError)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(loop.sock_recv(other, 65536), SECONDS)
    other.close()


async def test_a_quiet_pipe_is_pinged_by_who_dialed_it_and_pings_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING_SECONDS", 0.05)
    one, other = _pair()
    dialed = Told(WebsocketTransport(await _raw(one), dialed=True))
    loop = asyncio.get_running_loop()
    came = await asyncio.wait_for(loop.sock_recv(other, 6), SECONDS)
    assert came[:2] == b"\x89\x80"
    await loop.sock_sendall(other, OtherFrame(Opcode.PING, b"there?").serialize(mask=False))
    came = b""
    while b"\x8a\x86" not in came:
        came += await asyncio.wait_for(loop.sock_recv(other, 65536), SECONDS)
    dialed.transport.abort()
    await dialed.hears("lost")
    other.close()


async def test_nobody_finds_a_sendfile_in_it(both: Both, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file, pytest.raises(NotImplementedError):
        await asyncio.get_running_loop().sendfile(both.dialed.transport, file)

"""Websockets between clients and servers that know nothing of us."""

from __future__ import annotations

import os

import aiohttp
import pytest
from proxied import Proxied
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wire import Wire


@pytest.fixture(scope="session")
def server(make_job) -> Proxied:
    return make_job("sockets.py")


def dial(server: Proxied, rest: str, **options: object) -> connect:
    return connect(
        server.router.url().replace("http", "ws") + server.prefix + rest, max_size=None, proxy=None, **options
    )


async def echoed(socket: ClientConnection, message: object) -> object:
    await socket.send(message)
    return await socket.recv()


async def test_messages_of_any_kind_and_size_pass(server: Proxied) -> None:
    async with dial(server, "/") as socket:
        await socket.recv()
        for message in ("", "é\0", b"", bytes(range(256)), os.urandom(8 * 1024 * 1024), "x" * 200_000):
            assert await echoed(socket, message) == message


async def test_the_job_chooses_the_subprotocol_and_sees_its_own_origin(server: Proxied) -> None:
    async with dial(server, "/", subprotocols=["a", "b"], origin=server.router.url()) as socket:
        assert socket.subprotocol == "b"
        assert await socket.recv() == f"b http://127.0.0.1:{server.port}"


async def test_fragments_stay_fragments_and_pings_are_answered_by_the_other_end(server: Proxied) -> None:
    async with dial(server, "/pieces") as socket:
        await socket.recv()
        assert [piece async for piece in socket.recv_streaming()] == ["one ", "two ", "three", ""]
        await (await socket.ping(b"mine"))
        assert await echoed(socket, iter(["a", "b"])) == "ab"


async def test_close_codes_and_reasons_pass_both_ways(server: Proxied) -> None:
    async with dial(server, "/close") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "enough of it")
    async with dial(server, "/") as socket:
        await socket.recv()
        await socket.close(4000, "mine")
        assert (socket.close_code, socket.close_reason) == (4000, "mine")


async def test_a_refusal_reaches_the_client_whole(server: Proxied) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await dial(server, "/refuse")
    response = refused.value.response
    assert (response.status_code, response.headers["X-Why"], response.body) == (403, "closed", b"not today")


async def test_another_client_with_compression(server: Proxied) -> None:
    url = server.router.url() + server.prefix + "/"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
        await socket.receive()
        await socket.send_str("x" * 100_000)
        assert (await socket.receive()).data == "x" * 100_000
        await socket.close(code=4001)
        assert socket.close_code == 4001


async def test_a_message_of_64_mib(server: Proxied) -> None:
    message = os.urandom(1024 * 1024) * 64
    async with dial(server, "/", compression=None) as socket:
        await socket.recv()
        assert await echoed(socket, message) == message


async def test_one_byte_at_a_time(server: Proxied) -> None:
    """The handshake, a masked frame and a close, each byte in a segment of its own."""
    key = f"Sec-WebSocket-Key: {'A' * 22}=="
    asks = server.request("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key)
    frame = b"\x81\x82abcd" + bytes(a ^ b for a, b in zip(b"hi", b"ab", strict=True))
    async with server.wired() as wire:
        await sent_slowly(wire, asks)
        assert (await wire.head()).status == 101
        await sent_slowly(wire, frame)
        assert await wire.exactly(6) == b"\x81\x00\x81\x02hi"
        await sent_slowly(wire, b"\x88\x80abcd")
        assert await wire.rest() == (b"\x88\x00", "end")


async def sent_slowly(wire: Wire, data: bytes) -> None:
    for number in range(len(data)):
        await wire.send(data[number : number + 1])

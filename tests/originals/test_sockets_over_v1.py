"""What the old protocol carries of Websocket, and what becomes of the rest, as the docs say."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from test_autobahn import SHORT, verdicts
from tortured import OnV1
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MIB = 1024 * 1024
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")
AIOHTTPS = "7.9.5"
"""A close with 1006 on the wire, which aiohttp takes for one that may be sent (RFC 6455 7.4.1)."""


@pytest.fixture(scope="session")
def server(make_v1_job: Callable[..., OnV1]) -> OnV1:
    return make_v1_job("sockets.py")


def dial(server: OnV1, rest: str, **options: object) -> connect:
    url = server.router.url().replace("http", "ws") + server.prefix + rest
    return connect(url, max_size=None, proxy=None, **options)


async def echoed(socket: ClientConnection, message: object) -> object:
    await socket.send(message)
    return await socket.recv()


async def test_messages_of_any_kind_pass_and_keep_their_order(server: OnV1) -> None:
    messages = ["", "é\0", b"", bytes(range(256)), os.urandom(3 * MIB), "x" * 200_000, *map(str, range(100))]
    async with dial(server, "/?x=%20y") as socket:
        assert "permessage-deflate" not in socket.response.headers.get("Sec-WebSocket-Extensions", "")
        await socket.recv()
        for message in messages:
            assert await echoed(socket, message) == message


async def test_the_clients_first_subprotocol_is_taken(server: OnV1) -> None:
    async with dial(server, "/", subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol == "a"
        assert str(await socket.recv()).startswith("b")  # what the job chose, which v1 does not tell


async def test_fragments_arrive_as_one_message_and_pings_are_answered_by_the_router(server: OnV1) -> None:
    async with dial(server, "/pieces") as socket:
        await socket.recv()
        assert [piece async for piece in socket.recv_streaming()] == ["one two three"]
        await (await socket.ping(b"mine"))
        await socket.send(iter(["a", "b"]))
        assert await socket.recv() == "ab"


async def test_a_close_is_one_without_its_code(server: OnV1) -> None:
    async with dial(server, "/close") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "")
    async with dial(server, "/") as socket:
        await socket.recv()
        await socket.close(4000, "mine")
        assert socket.close_code == 1000


async def test_a_refusal_has_its_status(server: OnV1) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await dial(server, "/refuse")
    response = refused.value.response
    assert (response.status_code, response.body) == (403, b"the job refused the websocket\n")


async def test_one_byte_at_a_time(server: OnV1) -> None:
    key = f"Sec-WebSocket-Key: {'A' * 22}=="
    asks = server.request("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key)
    frame = b"\x81\x82abcd" + bytes(a ^ b for a, b in zip(b"hi", b"ab", strict=True))
    async with server.wired() as wire:
        for byte in asks:
            await wire.send(bytes((byte,)))
        assert (await wire.head()).status == 101
        for byte in frame:
            await wire.send(bytes((byte,)))
        assert await wire.exactly(6) == b"\x81\x00\x81\x02hi"
        for byte in b"\x88\x80abcd":
            await wire.send(bytes((byte,)))
        assert (await wire.exactly(4))[0] == 0x88


async def test_autobahns_cases_are_passed(make_v1_job: Callable[..., OnV1]) -> None:
    """By the router, whose own the client's half of such a websocket is: not as strict, and without compression."""
    job = make_v1_job("echo.py")
    url, cases = job.router.url().replace("http", "ws") + job.prefix + "/", SHORT
    found: dict[str, str] = {}
    for _ in range(3):  # a case has some seconds, and a busy machine may need more
        found |= await verdicts(url, cases, 8)
        cases = [case for case, said in found.items() if not said.startswith(PASSED)]
        if not set(cases) - {AIOHTTPS}:
            break
    assert not set(cases) - {AIOHTTPS}
    assert len(found) >= 240

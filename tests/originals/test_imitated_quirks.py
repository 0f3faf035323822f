"""What is peculiar about the originals and not in a recording, as the imitations have it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from aiohttp import web
from bare_peer import SUBPROTOCOL, dialed, greeted, hello
from imitations import Imitation, Originals

from prouter.testing.processes import eventually

TOKEN = "quirks"
PROPERTIES: dict[str, Any] = {"properties": {}}
REFUSED: list[str | bytes] = [
    "text",
    b"\xc1",
    msgpack.packb({}),
    msgpack.packb([11, 1]),
    msgpack.packb([3, 1, "more"]),
    msgpack.packb([2, 1, 20, "job_info", []]),
    msgpack.packb([2, 1, 99, "job_info", [], {}]),
    msgpack.packb([7, 1, None, 10, ["one"]]),
]


@dataclass
class Plain:
    """An agent that listens and a router, as they are by default; what they complain of is the test's to look at."""

    agent: Imitation
    router: Imitation


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    made = Originals(tmp_path_factory.mktemp("plain"))
    try:
        yield Plain(made.agent(token=TOKEN), made.router(token=TOKEN))
    finally:
        made.close()


@pytest.fixture
async def plain(once: Plain) -> Plain:
    await eventually(lambda: not once.agent.open_links() and not once.router.open_links())
    once.agent.forget()
    once.router.forget()
    return once


async def test_jobs_of_a_link_end_with_it(plain: Plain) -> None:
    agent = plain.agent
    async with greeted(agent.address(), TOKEN) as one, greeted(agent.address(), TOKEN) as other:
        created = await one.call(1, "job_create", "job")
        assert created[0] == 7
        assert (await one.call(2, "job_count_current_connection"))[2] == 1
        assert (await other.call(1, "job_count_current_connection"))[2] == 0
        uid = created[2]["uid"]
        assert (await other.call(2, "job_info", uid))[2]["state"] == "NEW", "any link sees any job"
        await one.call(3, "job_start", uid, ["sleep", "60"], {}, None, 0)
        await one.leave()
        await eventually(lambda: agent.lines("LINK ENDED"))
        assert (await other.call(3, "job_info", uid))[4][1] == "JobNotFoundError"


async def test_a_method_that_nobody_has_is_status_20(plain: Plain) -> None:
    agent, router = plain.agent, plain.router
    async with greeted(agent.address(), TOKEN) as peer:
        assert (await peer.call(1, "no_such_method"))[3] == 20
    async with greeted(router.address(), TOKEN, **PROPERTIES) as peer:
        assert (await peer.call(1, "job_create"))[3] == 20, "a router publishes none"


async def test_an_agent_that_calls_its_router_learns_the_status(originals: Originals) -> None:
    router = originals.router(token=TOKEN)
    agent = originals.agent("--call", "job_create", router=router.address(), token=TOKEN)
    await eventually(lambda: agent.lines("CALL FAILED 20"))


async def test_news_of_unknown_calls_is_dropped_in_silence(plain: Plain) -> None:
    agent = plain.agent
    async with greeted(agent.address(), TOKEN) as peer:
        for message in (
            [3, 77],
            [4, 77, b"data"],
            [5, 77],
            [7, 77, None, 10, ["x", None, None, None]],
            [8, 77, 1],
            [9, 7],
        ):
            await peer.say(*message)
        assert (await peer.call(1, "job_count_current_connection"))[2] == 0


async def test_the_33rd_message_stops_the_whole_connection_and_then_fails_its_call(originals: Originals) -> None:
    agent = originals.agent("--queue-seconds", "0.7", "--receive-delay-seconds", "60", token=TOKEN)
    originals.expected_violations.append("was full for 0.7 s")
    async with greeted(agent.address(), TOKEN) as peer:
        uid = (await peer.call(1, "job_create", "job"))[2]["uid"]
        await peer.say(2, 2, 40, "file_upload", [uid, "file"], {})
        for _ in range(32):
            await peer.say(4, 2, b"data")
        assert (await peer.call(3, "job_count_current_connection"))[2] == 1, "32 are queued, others go on"
        await peer.say(4, 2, b"data")
        await peer.say(2, 4, 20, "job_count_current_connection", [], {})
        begun = time.monotonic()
        failed, counted = await peer.hear(), await peer.hear()
        assert time.monotonic() - begun > 0.5
        assert (failed[:2], failed[3], failed[4][0]) == ([7, 2], 30, "callee stream buffer is full")
        assert counted[:2] == [7, 4], "it waited behind the stream"
    assert len(agent.lines("STALL")) == 1


async def test_a_message_over_4_mib_ends_the_link(plain: Plain) -> None:
    agent = plain.agent
    async with greeted(agent.address(), TOKEN) as peer:
        uid = (await peer.call(1, "job_create", "job"))[2]["uid"]
        await peer.say(2, 2, 40, "file_upload", [uid, "file"], {})
        await peer.say(4, 2, bytes(4 * 1024 * 1024 - 100))
        await peer.say(5, 2)
        assert (await peer.hear())[2] == 4 * 1024 * 1024 - 100
        try:
            await peer.say(4, 3, bytes(4 * 1024 * 1024 + 1))
        except ConnectionError:
            pass  # it is gone before all was said
        await eventually(lambda: agent.lines("LINK ENDED"))
    assert len(agent.lines("VIOLATION")) == 1


async def test_what_the_parser_refuses_ends_the_link(plain: Plain) -> None:
    router = plain.router
    for number, message in enumerate(REFUSED, 1):
        async with greeted(router.address(), TOKEN, **PROPERTIES) as peer:
            await peer.say_raw(message)
            assert await peer.closed() == 1002, message
        await eventually(lambda: not router.open_links())
        assert len(router.lines("VIOLATION")) == number, message


async def test_before_the_handshake_all_else_is_dropped_and_after_it_a_handshake_is(plain: Plain) -> None:
    agent = plain.agent
    async with dialed(agent.address()) as peer:
        await peer.say(2, 1, 20, "job_count_current_connection", [], {})
        await peer.say(1, 7, hello(TOKEN))
        assert (await peer.hear())[:2] == [6, 7]
        await peer.say(1, 8, hello(TOKEN))
        assert (await peer.call(1, "job_count_current_connection"))[:3] == [7, 1, 0]
    assert len(agent.lines("VIOLATION")) == 2


async def test_a_link_without_a_handshake_is_dropped(originals: Originals) -> None:
    router = originals.router("--handshake-seconds", "0.3", token=TOKEN)
    async with dialed(router.address()) as peer:
        assert await peer.closed() == 1002


async def test_a_second_link_of_an_agent_is_refused_while_the_first_is_there(plain: Plain) -> None:
    router = plain.router
    async with greeted(router.address(), TOKEN, uid="same", **PROPERTIES) as first:
        async with dialed(router.address()) as second:
            await second.say(1, 1, hello(TOKEN, uid="same", **PROPERTIES))
            assert await second.closed() == 1002
        assert (await first.call(1, "anything"))[3] == 20


async def test_an_answer_of_another_shape_is_told_and_the_router_goes_on(plain: Plain) -> None:
    router = plain.router
    async with dialed(router.address()) as peer:
        await peer.say(1, 1, hello(TOKEN, platform={"system": "Linux"}, **PROPERTIES))
        assert (await peer.hear())[0] == 6
    assert len(router.lines("VIOLATION")) == 1


async def test_a_cancelled_call_has_no_result_unless_it_crosses(originals: Originals) -> None:
    for words, late in (((), False), (("--cancel-delay-seconds", "30"), True)):
        agent = originals.agent(*words, token=TOKEN)
        async with greeted(agent.address(), TOKEN) as peer:
            uid = (await peer.call(1, "job_create", "job"))[2]["uid"]
            await peer.call(2, "job_start", uid, ["sleep", "60"], {}, None, 0)
            await peer.say(2, 4, 20, "job_wait", [uid], {})
            await peer.say(3, 4)
            await peer.say(2, 5, 20, "job_remove", [uid], {})
            heard = [(await peer.hear())[1] for _ in range(1 + late)]
            assert heard == ([4, 5] if late else [5])
        assert agent.stop() == 0


@asynccontextmanager
async def bare_router(
    serve: Callable[[web.WebSocketResponse, list[Any]], Awaitable[None]], *, autoping: bool = True
) -> AsyncIterator[str]:
    """The address of an endpoint for agents. `serve` gets each link and its answer to the handshake, to send or not."""

    async def accept(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), autoping=autoping)
        await socket.prepare(request)
        asked = msgpack.unpackb((await socket.receive()).data)
        answer = [6, asked[1], [1, "0" * 32, hello("")[2]], 0, None]
        await serve(socket, answer)
        return socket

    app = web.Application()
    app.add_routes([web.get("/rpc/v1", accept)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_silent_link_is_pinged_and_dropped_without_a_pong(originals: Originals) -> None:
    pings = 0

    async def serve(socket: web.WebSocketResponse, answer: list[Any]) -> None:
        nonlocal pings
        await socket.send_bytes(msgpack.packb(answer))
        async for message in socket:
            pings += message.type.name == "PING"

    async with bare_router(serve, autoping=False) as address:
        agent = originals.agent("--heartbeat-seconds", "0.4", router=address, token=TOKEN)
        await eventually(lambda: agent.lines("LINK ENDED"))
        assert pings >= 1
        agent.stop()


async def test_a_call_in_the_same_packet_as_the_handshakes_answer_is_dropped(originals: Originals) -> None:
    """An original is not connected at once: a router that calls too early loses the call."""
    answered: list[Any] = []

    async def serve(socket: web.WebSocketResponse, answer: list[Any]) -> None:
        call = [2, 1, 20, "job_count_current_connection", [], {}]
        packed = [msgpack.packb(each) for each in (answer, call)]
        assert socket._req is not None
        assert socket._req.transport is not None
        frames = [bytes([0x82, 126, *len(each).to_bytes(2, "big")]) + each for each in packed]
        socket._req.transport.write(b"".join(frames))
        answered.append((await socket.receive()).data)

    originals.expected_violations.append("unexpected message dropped")
    async with bare_router(serve) as address:
        agent = originals.agent("--connected-turns", "3", router=address, token=TOKEN)
        await eventually(lambda: agent.lines("VIOLATION"))
        agent.stop()
        ready = originals.agent(router=address, token=TOKEN)
        await eventually(lambda: msgpack.packb([7, 1, msgpack.packb(0), 0, None]) in answered)
        ready.stop()
        assert not ready.lines("VIOLATION")


async def test_a_router_lets_in_the_next_start_of_a_killed_agent(originals: Originals) -> None:
    router = originals.router(token=TOKEN)
    first = originals.agent(router=router.address(), token=TOKEN)
    await eventually(lambda: router.open_links() == 1)
    first.kill()
    await eventually(lambda: not router.open_links())
    originals.expected_violations.append("platform has six texts")
    originals.agent("--uid-as-bytes", "--omit", "platform", router=router.address(), token=TOKEN)
    await eventually(lambda: router.open_links() == 1)

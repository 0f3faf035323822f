"""Slow clients are let go, by limits that can be configured, and nobody else waits for them (S12).

Deadlines are compressed by configuration; what is promised is that each has one, and that it is the right one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from figures import LONG, Figures
from proxied import Proxied, joined, new_job
from sampling import Sampler, percentile
from wire import Wire, wired

from prouter.core.settings import SECTIONS
from prouter.testing import Fleet, RouterDaemon, eventually
from prouter.web.acceptor import LOOK_SECONDS

ROOM = 3
"""Times a deadline, for a machine that is busy."""
STREAMS = Path(__file__).parent / "streaming_job.py"
COUNTED = 'prouter_connections{endpoint="control"} '
BODY = "timeouts.body=0.5"


async def ends(wire: Wire, within_seconds: float) -> bytes:
    """What comes until the router ends the connection; a failure when it is later than that, with room."""
    begun = time.monotonic()
    data, _ = await wire.rest()
    assert time.monotonic() - begun < ROOM * within_seconds + 2
    return data


async def trickled(wire: Wire, data: bytes, every_seconds: float) -> bytes:
    """What the router says while somebody sends `data`, byte by byte, without hurry; until it ends the connection."""

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            for byte in data:
                await wire.send(bytes([byte]))
                await asyncio.sleep(every_seconds)

    sending = asyncio.create_task(send())
    try:
        return (await wire.rest())[0]
    finally:
        sending.cancel()
        await asyncio.wait([sending])


def status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


@contextlib.asynccontextmanager
async def unread(address: tuple[str, int], request: bytes) -> AsyncIterator[socket.socket]:
    """A client with little room that sends this and reads nothing."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        held.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(held, address)
        await loop.sock_sendall(held, request)
        yield held


def pressed_beside(other: Proxied) -> Proxied:
    return new_job(other.router, other.agent, "", str(STREAMS))


async def count(router: RouterDaemon) -> int:
    """Connections of clients, as the router counts them, that of the asker with them."""
    async with aiohttp.ClientSession() as session, session.get(router.url() + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return int(
        float(next(line for line in lines if line.startswith('prouter_connections{endpoint="control"}')).split()[1])
    )


# --- heads ---


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 500, b"\r\n" * 300])
async def test_a_head_that_trickles_has_one_deadline_and_no_byte_renews_it(fleet: Fleet, sent: bytes) -> None:
    router = fleet.router("timeouts.head=1", "timeouts.idle=1")
    begun = time.monotonic()
    async with wired(*router.address("control")) as wire:
        answer = await trickled(wire, sent, 0.1)
    assert status(answer) in (0, 408)
    assert time.monotonic() - begun < ROOM * 1 + 2


async def test_who_connects_or_keeps_a_connection_and_says_nothing_is_let_go(fleet: Fleet, figures: Figures) -> None:
    router = fleet.router("timeouts.head=0.5", "timeouts.idle=0.7")
    begun = time.monotonic()
    async with wired(*router.address("control")) as silent:
        assert await ends(silent, 0.5) == b""
    took, goal = time.monotonic() - begun, 0.5 + LOOK_SECONDS
    figures.record("S12", "until a silent client is closed", took, goal=goal, unit="s")
    async with wired(*router.address("control")) as kept:
        await kept.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await kept.answer()).status == 200
        begun = time.monotonic()
        assert await ends(kept, 0.7) == b""
    took, goal = time.monotonic() - begun, 0.7 + LOOK_SECONDS
    figures.record("S12", "until a kept connection that says nothing is closed", took, goal=goal, unit="s")


async def test_half_a_thousand_slow_heads_are_closed_and_others_do_not_wait(fleet: Fleet, figures: Figures) -> None:
    clients, seconds = (2000, 10) if LONG else (500, 2)
    job = joined(fleet, f"timeouts.head={seconds}")()
    router, busy = job.router, Sampler(job.router.pid)
    opened = await asyncio.gather(*(asyncio.open_connection(*router.address("control")) for _ in range(clients)))
    begun = time.monotonic()
    waits: list[float] = []

    async def drip() -> None:
        while True:
            for _, writer in opened:
                writer.write(b"X")
            await asyncio.sleep(0.5)

    async def others() -> None:
        while True:
            asked = time.monotonic()
            assert (await job.ask("/small")).status == 200
            waits.append(time.monotonic() - asked)
            await asyncio.sleep(0.02)

    for _, writer in opened:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    cpu = busy.cpu_seconds()
    around = [asyncio.create_task(drip()), asyncio.create_task(others())]
    try:
        answers = await asyncio.gather(*(_to_the_end(reader) for reader, _ in opened))
    finally:
        for task in around:
            task.cancel()
        ended = await asyncio.gather(*around, return_exceptions=True)
        for _, writer in opened:
            writer.close()
    took = time.monotonic() - begun
    assert isinstance(ended[1], asyncio.CancelledError), f"another client was not served: {ended[1]!r}"
    figures.record("S12", "slow heads closed by the deadline", sum(map(bool, answers)), goal=clients)
    figures.record("S12", "until the last slow head was closed", took, goal=seconds * 1.5, unit="s")
    figures.record("S12", "p99 of others beside slow heads", percentile(waits, 0.99) * 1000, goal=100, unit="ms")
    figures.record("S12", "router's CPU beside slow heads", (busy.cpu_seconds() - cpu) / took * 100, unit="%")
    assert all(status(answer) in (0, 408) for answer in answers)
    assert took < ROOM * seconds + 2


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""


# --- bodies ---


@pytest.fixture
def paced(fleet: Fleet) -> Proxied:
    return joined(fleet, BODY, "limits.body_rate=100")()


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_proxied_body_that_comes_too_slowly_is_408_and_the_job_is_told_a_cut(
    paced: Proxied, framing: str
) -> None:
    async with paced.wired() as wire:
        await wire.send(paced.request("/slow", framing, method="POST"))
        answer = await trickled(wire, b"1\r\nx\r\n" * 100, 0.05)
    assert status(answer) == 408
    assert b"urn:prouter:too-slow" in answer
    assert b"limits.body_rate" not in answer.split(b"\r\n\r\n")[0]
    await eventually(lambda: any(b"/slow" in heard for heard in paced.heard))
    assert (await paced.ask("/after")).status == 200


async def test_an_upload_that_comes_too_slowly_leaves_no_file(paced: Proxied) -> None:
    path = f"/jobs/{paced.info['uid']}/file/part"
    async with paced.wired() as wire:
        await wire.send(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode())
        assert status(await trickled(wire, b"x" * 900, 0.05)) == 408
    await eventually(
        lambda: [each.name for each in paced.sandbox.iterdir() if "part" in each.name or "upload" in each.name] == []
    )


async def test_a_body_in_time_over_several_windows_and_one_that_the_job_does_not_read_are_served(
    paced: Proxied,
) -> None:
    async with paced.wired() as wire:
        await wire.send(paced.request("/steady", "Content-Length: 400", method="POST"))
        for _ in range(20):  # some windows' time, four times the rate
            await wire.send(b"x" * 20)
            await asyncio.sleep(0.05)
        assert (await wire.answer()).status == 200
    body, stalls = 32 * 1024 * 1024, pressed_beside(paced)
    async with stalls.wired() as wire:
        await wire.send(stalls.request("/stalls?seconds=2", f"Content-Length: {body}", method="POST"))
        sending = asyncio.create_task(wire.send(b"x" * body))
        assert (await wire.answer()).status == 200
        await sending


async def test_who_waits_to_be_asked_for_its_body_is_not_too_slow(paced: Proxied) -> None:
    async with paced.wired() as wire:
        lines, asks = ("Content-Length: 3", "Expect: 100-continue"), pressed_beside(paced)
        await wire.send(asks.request("/asks?seconds=1.5", *lines, method="POST"))
        assert (await wire.head()).status == 100
        await wire.send(b"abc")
        assert (await wire.answer()).status == 200


async def test_no_rate_is_asked_for_where_the_configuration_says_so(fleet: Fleet) -> None:
    job = joined(fleet, BODY, "limits.body_rate=0")()
    async with job.wired() as wire:
        await wire.send(job.request("/slow", "Content-Length: 2", method="POST") + b"x")
        await asyncio.sleep(2)
        await wire.send(b"x")
        assert (await wire.answer()).status == 200


# --- answers that nobody reads ---


async def test_who_does_not_read_a_kept_connections_answers_is_let_go(fleet: Fleet) -> None:
    """However many there are: after some number of them the router holds a part of one, and is not slowed by it yet."""
    job = joined(fleet, "timeouts.idle=0.5", "timeouts.relay_idle=5")()
    async with contextlib.AsyncExitStack() as held:
        for answers in range(1, 70):
            requests = job.request("/big?bytes=60000") * answers
            await held.enter_async_context(unread(job.router.address("control"), requests))
        await eventually(lambda: _one_is_left(job.router), seconds=ROOM * 12)


async def test_a_follower_that_reads_nothing_is_let_go_and_one_that_reads_stays(fleet: Fleet) -> None:
    router = fleet.router("timeouts.relay_idle=2", "timeouts.idle=0.5", "events.max_followers=2")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    labels = {f"label-{number}": "x" * 240 for number in range(60)}
    follow = b"GET /events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    once = aiohttp.TCPConnector(force_close=True)  # a connection that is kept may be idle for too long just now
    async with aiohttp.ClientSession(connector=once) as creating, aiohttp.ClientSession() as session:

        async def create() -> None:
            body = {"agent": {"type": "uid", "uid": agent.uid}, "labels": labels}
            async with creating.post(router.url() + "/jobs/create", json=body) as answer:
                assert answer.status == 200

        reads = await session.get(router.url() + "/events")

        async def read_on() -> None:
            async for _ in reads.content.iter_any():
                pass

        reading = asyncio.create_task(read_on())
        for _ in range(16):
            await asyncio.gather(*(create() for _ in range(20)))
        async with unread(router.address("control"), follow):

            async def its_place_is_free() -> bool:
                async with session.get(router.url() + "/events") as answer:
                    return answer.status == 200

            async def its_place_is_taken() -> bool:
                return not await its_place_is_free()

            await eventually(its_place_is_taken)
            await eventually(its_place_is_free)
        assert not reading.done(), "it was let go"
        reading.cancel()
        reads.close()


async def _one_is_left(router: RouterDaemon) -> bool:
    return await count(router) == 1


# --- those who dial ---


async def test_a_peer_that_does_not_introduce_itself_is_let_go(fleet: Fleet) -> None:
    router = fleet.router("links.handshake_timeout=0.5", "timeouts.head=0.5")
    agent = fleet.agent(None, "links.handshake_timeout=0.5")
    for daemon in (router, agent):
        async with aiohttp.ClientSession() as session:
            url = daemon.url("server") + "/rpc/v1"
            async with session.ws_connect(url, protocols=("v1.prpc.datadvance",)) as websocket:
                begun = time.monotonic()
                message = await websocket.receive(timeout=20)
                assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
                assert time.monotonic() - begun < ROOM * 0.5 + 2


def test_the_deadlines_that_ship_are_those_that_are_promised() -> None:
    """The tests above compress them."""
    sections = {section.name: section.properties for section in SECTIONS}
    assert sections["timeouts"]["head"]["default"] <= 10
    assert sections["links"]["handshake_timeout"]["default"] <= 10
    assert sections["limits"]["body_rate"]["default"] > 0

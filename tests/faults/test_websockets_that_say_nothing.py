"""R11: Websockets that say nothing stay open by the thousand, each for little memory, and cost no CPU."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from figures import LONG, Figures
from proxied import Proxied, joined
from sampling import Sampler
from wire import Wire

from prouter.testing import Fleet

JOB = str(Path(__file__).parent / "streaming_job.py")
WEBSOCKETS = 4000 if LONG else 1000
SECONDS = 600.0 if LONG else 3.0
GOAL_KIB = 12
HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
MASK = bytes(4)
AT_ONCE = 10


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def message(text: bytes) -> bytes:
    return bytes((0x81, 0x80 | len(text))) + MASK + text


async def opened(job: Proxied, open_: contextlib.AsyncExitStack, turns: asyncio.Semaphore) -> Wire:
    async with turns:
        wire = await open_.enter_async_context(job.wired())
        await wire.send(job.request("/websocket", *HANDSHAKE, KEY))
        assert (await wire.head()).status == 101
    return wire


async def echoed(wire: Wire, text: bytes) -> None:
    await wire.send(message(text))
    assert await wire.exactly(2 + len(text)) == bytes((0x81, len(text))) + text


async def test_websockets_by_the_thousand_stay_open_and_cost_little(fleet: Fleet, figures: Figures) -> None:
    make = await asyncio.to_thread(joined, fleet, "timeouts.relay_idle=3600")
    job = await asyncio.to_thread(make, JOB)
    daemons = Sampler(job.router.pid), Sampler(job.agent.pid)
    async with contextlib.AsyncExitStack() as open_:
        turns = asyncio.Semaphore(AT_ONCE)
        for _ in range(AT_ONCE):  # what is made once is made now
            await echoed(await opened(job, open_, turns), b"first")
        before = sum(daemon.rss_kib() for daemon in daemons)
        async with asyncio.timeout(120):
            wires = await asyncio.gather(*(opened(job, open_, turns) for _ in range(WEBSOCKETS)))
            await asyncio.gather(*(echoed(wire, b"hello") for wire in wires))
        each_kib = (sum(daemon.rss_kib() for daemon in daemons) - before) / WEBSOCKETS
        cpu, begun = sum(daemon.cpu_seconds() for daemon in daemons), time.monotonic()
        await asyncio.sleep(SECONDS)
        took = time.monotonic() - begun
        cpu = sum(daemon.cpu_seconds() for daemon in daemons) - cpu
        dropped = sum(wire.reader.at_eof() for wire in wires)
        async with asyncio.timeout(120):
            await asyncio.gather(*(echoed(wire, b"still there") for wire in wires))
        figures.record("R11", "idle Websockets dropped", dropped, goal=0, holds=dropped == 0)
        held = each_kib <= GOAL_KIB
        figures.record(
            "R11", "memory of router and agent for an idle Websocket", each_kib, goal=GOAL_KIB, unit="KiB", holds=held
        )
        figures.record("R11", "idle Websockets", WEBSOCKETS)
        figures.record("R11", "idle for", SECONDS, unit="s")
        figures.record("R11", "CPU of router and agent, Websockets idle", cpu / took * 100, goal=20, unit="%")
    assert dropped == 0
    assert held, f"{each_kib:.1f} KiB each"

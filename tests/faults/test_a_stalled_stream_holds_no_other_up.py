"""R8: of a thousand streams of one agent some stall; the others go on as before, and those that stalled are not killed
before their idle time-out. Latency and throughput beside when none stalls are recorded, and asserted by nobody."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack

from asked_streams import JOB, Reader, asked, ended_at, taken, waiting
from figures import LONG
from proxied import Proxied, call, joined
from sampling import Sampler, percentile

from prouter.testing import eventually
from prouter.web.acceptor import LOOK_SECONDS

MIB = 1024 * 1024
STREAMS = 4000 if LONG else 1000
ROUNDS = 9 if LONG else 3
"""In each every share stalls for a while, every second round backwards: a machine that slows down slows all."""
TIMES = 22 if LONG else 1
"""That each stream asks meanwhile."""
BYTES = 4096
"""That a stream asks for and gets each time."""
MUCH = 1024 * MIB
"""More than all buffers on the way take."""
STALLED = (0.0, 0.01, 0.1)
LATER, MORE_SECONDS = 2, 0.02
"""The others' p99 may be so many times what it is when none stalls, or this more."""
LEAST = 90
"""Per cent of the throughput when none stalls."""
UPGRADE = ("Connection: Upgrade", "Upgrade: asked")
IDLE_SECONDS = 2.0
STILL_SECONDS = 0.3
ROOM = 3
"""Deadlines are for a calm machine; this one may be slow."""


async def opened(job: Proxied, stack: AsyncExitStack, count: int) -> list[Reader]:
    """Tunnels, a few at a time: a listener's queue is short."""
    found = []
    for start in range(0, count, 50):
        batch = range(min(50, count - start))
        found += await asyncio.gather(*(stack.enter_async_context(asked(job, "/asked", *UPGRADE)) for _ in batch))
        for client in found[start:]:
            assert await client.until_head() == 101
    return found


async def asks(client: Reader, times: list[float]) -> None:
    """Ask and wait, again and again; every byte is right (Reader)."""
    for _ in range(TIMES):
        begun = time.monotonic()
        client.transport.write(b"%d\n" % BYTES)
        client.expect_again()
        await client.until(BYTES)
        times.append(time.monotonic() - begun)


async def stall(job: Proxied, stack: AsyncExitStack, going: list[Reader], stalled: list[Reader], count: int) -> None:
    """So many of all stand still. Whoever no longer does has left, and another one has come for him."""
    assert [client.end for client in stalled] == [None] * len(stalled)
    leaving = stalled[count:]
    del stalled[count:]
    for client in leaving:
        client.leave()
    going += await opened(job, stack, len(leaving))
    while len(stalled) < count:
        client = going.pop()
        client.stall()
        client.transport.write(b"%d\n" % MUCH)
        client.expect_again()
        stalled.append(client)

    async def all_stand() -> bool:
        return await waiting(job) == count

    await eventually(all_stand, what="a job that waits for all that stalled, and for no other")


async def measured(going: list[Reader]) -> tuple[float, float]:
    """p99 in seconds and MiB a second of those that go on."""
    times: list[float] = []
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in going:
            group.create_task(asks(client, times))
    took = time.monotonic() - begun
    assert len(times) == len(going) * TIMES
    return percentile(times, 0.99), len(times) * BYTES / MIB / took


async def test_of_a_thousand_streams_some_stall(fleet, figures) -> None:
    job = joined(fleet)(JOB)
    router, agent = Sampler(job.router.pid), Sampler(job.agent.pid)
    before = await settled(router, agent)
    found: dict[float, list[tuple[float, float]]] = {share: [] for share in STALLED}
    async with AsyncExitStack() as stack:
        going = await opened(job, stack, STREAMS)
        stalled: list[Reader] = []
        await measured(going)  # what opens once is open
        for number in range(ROUNDS):
            for share in STALLED if number % 2 == 0 else reversed(STALLED):
                await stall(job, stack, going, stalled, int(STREAMS * share))
                found[share].append(await measured(going))
        assert stalled
        assert [client.end for client in stalled] == [None] * len(stalled)
        for client in stalled[:2]:  # and they go on where they stood
            client.read_on()
            await client.until(32 * MIB)
    for share in STALLED:
        tell(figures, f"{STREAMS} streams, {share:.0%} stalled", found[share], found[0.0])
    await settled(router, agent, before)


def tell(figures, name: str, found: list[tuple[float, float]], unstalled: list[tuple[float, float]]) -> None:
    """Medians of the rounds, and of the ratios within each."""
    p99, rate = (statistics.median(each) for each in zip(*found, strict=True))
    figures.record("R8", f"p99 of the others, {name}", p99 * 1000, unit="ms")
    figures.record("R8", f"throughput of the others, {name}", rate, unit="MiB/s")
    if found is unstalled:
        return
    pairs = list(zip(found, unstalled, strict=True))
    later = [each[0] / max(LATER * other[0], other[0] + MORE_SECONDS) * 100 for each, other in pairs]
    least = [each[1] / other[1] * 100 for each, other in pairs]
    may_be = f"{LATER} times that when none stalls or {MORE_SECONDS * 1000:g} ms more"
    figures.record("R8", f"p99 of {may_be}, {name}", statistics.median(later), goal=100, unit="%", spread=later)
    value, told = statistics.median(least), f"throughput of that when none stalls, {name}"
    figures.record("R8", told, value, goal=f">= {LEAST}", unit="%", holds=value >= LEAST, spread=least)


async def settled(router: Sampler, agent: Sampler, most: tuple[int, int] = (1000, 1000)) -> tuple[int, int]:
    """Open descriptors of both, once there are not many more than there were."""
    kept = 40  # connections to the job that are kept for the next request, warm pipes

    def few() -> bool:
        found = router.descriptors(), agent.descriptors()
        assert found[0] <= most[0] + kept, found
        assert found[1] <= most[1] + 2 * kept, found
        return True

    await eventually(few, what="descriptors that are closed")
    return router.descriptors(), agent.descriptors()


async def all_stall(job: Proxied, up: Reader) -> float:
    """When it was first seen that nothing goes either way of any connection."""
    last, since = (-1, -1), 0.0

    async def nothing_moves() -> bool:
        nonlocal last, since
        now = time.monotonic()
        found = await taken(job), up.transport.get_write_buffer_size()
        if found != last:
            last, since = found, now
        return now - since > STILL_SECONDS

    await eventually(nothing_moves, what="streams that stand still")
    return since


async def test_who_stalls_is_cut_at_its_idle_time_out_and_not_before(fleet, figures) -> None:
    """A download, an upload and a tunnel: the job sees the end then, too."""
    job = joined(fleet, f"timeouts.relay_idle={IDLE_SECONDS}")(JOB)
    begun = time.monotonic()
    async with (
        asked(job, f"/big?bytes={MUCH}&name=down", read=False),
        asked(job, "/asked?name=tunnel", *UPGRADE) as tunnel,
        asked(job, "/sink?after=go&name=up", f"Content-Length: {MUCH}", method="POST") as up,
    ):
        await tunnel.until_head()
        tunnel.stall()
        tunnel.transport.write(b"%d\n" % MUCH)
        up.transport.write(bytes(32 * MIB))
        stalled_at = await all_stall(job, up)
        assert await up.until_head(ROOM * IDLE_SECONDS + 5) == 504
        said_at = time.monotonic()
        info = f"{job.info['path']}/info"
        await eventually(lambda: call(job.router, "GET", info)["activity"]["connections"] == 0)
        (job.sandbox / "go").touch()  # a job that does not read sees nothing, not even the end

        def all_ended() -> bool:
            return all(ended_at(job, name) for name in ("down", "tunnel", "up"))

        await eventually(all_ended, seconds=ROOM * IDLE_SECONDS, what="the end of all for the job")
    for name in ("down", "tunnel", "up"):
        cut_at = said_at if name == "up" else ended_at(job, name) or 0
        seconds = cut_at - stalled_at
        figures.record("R8", f"{name} stalled until it was cut", seconds, goal=IDLE_SECONDS + LOOK_SECONDS, unit="s")
        assert cut_at - begun >= IDLE_SECONDS, f"{name} was cut after {cut_at - begun:.1f} s"

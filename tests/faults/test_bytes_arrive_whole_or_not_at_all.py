"""R10: what is sent through a router and an agent arrives whole and in order, or who waits for it is told of a cut.

On lines that lose packets, and on lines that break; nobody ever takes a beginning for all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from figures import LONG, Figures
from lossy_line import lossy_line
from namespaces import inside
from proxied import Proxied, new_job
from streaming_job import pieces

from prouter.testing import AgentDaemon, BrokenNetwork, Fleet, RouterDaemon, eventually

JOB = str(Path(__file__).parent / "streaming_job.py")
STREAMS = 64
"""Each way."""
MIB = 1024 * 1024
CUTS = int(os.environ.get("PROUTER_STREAM_CUTS", "2000")) if LONG else 20
LOSSY_GIB = float(os.environ.get("PROUTER_LOSSY_GIB", "100"))
"""All that goes over the line that loses packets, in the long form."""
LOSSY_BYTES = int(LOSSY_GIB * 1024 * MIB / (2 * STREAMS)) if LONG else 96 * 1024
"""Of a stream, on average."""
SECONDS = 3000.0 + 180.0 * LOSSY_GIB if LONG else 90.0


def digest(seed: int, size: int) -> str:
    found = hashlib.sha256()
    for piece in pieces(seed, size):
        found.update(piece)
    return found.hexdigest()


class Tally:
    """What became of all tries. `cut` are those that ended with an error; there must be no `wrong` ones."""

    def __init__(self) -> None:
        self.whole = 0
        self.cut = 0
        self.wrong: list[str] = []

    async def down(self, session: aiohttp.ClientSession, job: Proxied, seed: int, size: int) -> bool:
        found, came = hashlib.sha256(), 0
        url = f"{job.router.url()}{job.prefix}/down?seed={seed}&bytes={size}"
        try:
            async with session.get(url) as answer:
                if answer.status != 200:
                    return self._not_whole(answer.status)
                async for data in answer.content.iter_any():
                    found.update(data)
                    came += len(data)
        except (aiohttp.ClientError, ConnectionError):
            return self._not_whole(None)
        return await self._judge(f"down {seed}", came, found.hexdigest(), seed, size)

    async def up(self, session: aiohttp.ClientSession, job: Proxied, seed: int, size: int) -> bool:
        async def body() -> AsyncIterator[bytes]:
            for piece in pieces(seed, size):
                yield piece

        try:
            async with session.post(f"{job.router.url()}{job.prefix}/up", data=body()) as answer:
                if answer.status != 200:
                    return self._not_whole(answer.status)
                told = await answer.json()
        except (aiohttp.ClientError, ConnectionError):
            return self._not_whole(None)
        return await self._judge(f"up {seed}", told["bytes"], told["sha256"], seed, size)

    def _not_whole(self, status: int | None) -> bool:
        """An answer that says so, or a connection that broke."""
        if status not in (None, 408, 502, 503, 504):
            self.wrong.append(f"status {status}")
        self.cut += 1
        return False

    async def _judge(self, what: str, came: int, sha256: str, seed: int, size: int) -> bool:
        if (came, sha256) != (size, await asyncio.to_thread(digest, seed, size)):
            self.wrong.append(f"{what}: {came} of {size} bytes, {'cut short' if came < size else 'spoiled'}")
        self.whole += 1
        return True


async def all_streams(job: Proxied, size: int, tally: Tally) -> list[int]:
    """Each is tried until it was whole. Returns how long they are."""
    sizes = random.Random(10)

    async def until_whole(one: Callable[..., Awaitable[bool]], seed: int, most: int) -> None:
        while not await one(session, job, seed, most):
            await asyncio.sleep(0.2)

    asked = [(one, seed, sizes.randint(1, 2 * size)) for seed in range(STREAMS) for one in (tally.down, tally.up)]
    ends, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession(connector=ends, timeout=patient) as session:
        await asyncio.gather(*(until_whole(*each) for each in asked))
    return [most for _, _, most in asked]


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2")
async def test_streams_over_a_line_that_loses_packets_arrive_whole(
    fleet: Fleet, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay_seconds = 0.05 if LONG else 0.01
    for kind in (RouterDaemon, AgentDaemon):
        monkeypatch.setattr(kind, "forks", False)  # or it would be where its parent is
    with lossy_line(delay_seconds=delay_seconds, loss=0.01) as line:
        try:
            router = fleet.router(f"server.interface={line.near_address}")
            with inside(line.far):
                agent = fleet.agent(router)
            await router.agent_is_there(agent)
            job = await asyncio.to_thread(new_job, router, agent, "", JOB)
            tally, begun = Tally(), time.monotonic()
            sizes = await all_streams(job, LOSSY_BYTES, tally)
            took = time.monotonic() - begun
        finally:
            await asyncio.to_thread(fleet.close)
    figures.record("R10", "bytes lost, doubled or spoiled in streams over a lossy line", len(tally.wrong), goal=0)
    figures.record("R10", "streams over a lossy line that were cut", tally.cut, goal=0)
    figures.record("R10", "128 streams over a lossy line", took, unit="s")
    figures.record("R10", "bytes of these streams", sum(sizes) / MIB, unit="MiB")
    assert not tally.wrong, tally.wrong[:5]
    assert tally.cut == 0, "a line that only loses packets cuts nothing"


def gone_by(line: BrokenNetwork, enough: float, streams: asyncio.Task[list[int]]) -> bool:
    return streams.done() or line.there.passed + line.back.passed > enough


async def test_streams_over_links_that_are_cut_arrive_whole_or_are_errors(fleet: Fleet, figures: Figures) -> None:
    size = 8 * MIB if LONG else MIB // 2
    router = fleet.router()
    chance, tally = random.Random(20), Tally()
    async with BrokenNetwork(router.address("server")) as line:
        for way in (line.there, line.back):
            way.pieces = (7, 4000, 65536, 65536)
        agent = fleet.agent(router, f"client.addresses=['{line.authority}']", "client.reconnect_delay=0.05")
        await router.agent_is_there(agent)
        job = await asyncio.to_thread(new_job, router, agent, "", JOB)
        streams = asyncio.create_task(all_streams(job, size, tally))
        cuts = 0
        while not streams.done():
            enough = line.there.passed + line.back.passed + chance.random() * size
            await eventually(functools.partial(gone_by, line, enough, streams))
            if cuts < CUTS:
                line.cut()
                cuts += 1
        await streams
    figures.record("R10", "cuts of all links while streams were under way", cuts, goal=CUTS)
    figures.record("R10", "streams that were cut and told so", tally.cut)
    figures.record("R10", "short or spoiled streams that were taken for whole", len(tally.wrong), goal=0)
    assert not tally.wrong, tally.wrong[:5]
    assert tally.whole == 2 * STREAMS
    assert cuts == CUTS
    assert tally.cut > 0, "the cuts met no stream"


async def test_a_job_that_dies_amid_its_chunks_is_an_error_at_each_client(fleet: Fleet, figures: Figures) -> None:
    router, agent = await fleet.pair()
    job = await asyncio.to_thread(new_job, router, agent, "", JOB)
    clean = await cut_answers(job, lambda seed: f"/down?seed={seed}&bytes={256 * MIB}&dies={3 if seed == 0 else 0}")
    figures.record("R10", "clean ends of answers whose job died", clean, goal=0)
    assert clean == 0


@pytest.mark.parametrize("who", ["router", "agent"])
async def test_a_daemon_that_dies_amid_answers_is_an_error_at_each_client(fleet: Fleet, who: str) -> None:
    router, agent = await fleet.pair()
    job = await asyncio.to_thread(new_job, router, agent, "", JOB)

    def dies() -> None:
        os.kill((router if who == "router" else agent).pid, signal.SIGKILL)

    assert await cut_answers(job, lambda seed: f"/down?seed={seed}&bytes=10000000000", dies) == 0


@pytest.mark.parametrize("who", ["router", "agent", "job"])
async def test_an_answer_that_only_a_close_could_end_is_reset_when_somebody_dies(fleet: Fleet, who: str) -> None:
    router, agent = await fleet.pair()
    job = await asyncio.to_thread(new_job, router, agent, "", JOB)
    pid = {"router": router.pid, "agent": agent.pid, "job": job.info["pid"]}[who]
    async with contextlib.AsyncExitStack() as open_:
        wires = [await open_.enter_async_context(job.wired()) for _ in range(8)]
        for wire in wires:
            await wire.send(job.request("/until-close"))
            await wire.head()
        os.kill(pid, signal.SIGKILL)
        ends = [how for _, how in await asyncio.gather(*(wire.rest() for wire in wires))]
    assert ends == ["reset"] * len(wires)


async def cut_answers(job: Proxied, path: Callable[[int], str], cut: Callable[[], None] = lambda: None) -> int:
    """How many of some answers under way end as if they were whole. They are slowly read, so that much is buffered."""

    async def one(seed: int) -> bool:
        async with session.get(job.router.url() + job.prefix + path(seed)) as answer:
            begun.append(seed)
            if answer.status != 200:  # it came when the job was dead
                return False
            try:
                async for _ in answer.content.iter_any():
                    await asyncio.sleep(0.01)
            except (aiohttp.ClientError, ConnectionError):
                return False
            return True

    begun: list[int] = []
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
        asking = [asyncio.create_task(one(seed)) for seed in range(12)]
        await eventually(lambda: len(begun) == len(asking) or any(task.done() for task in asking))
        cut()
        return sum(await asyncio.gather(*asking))

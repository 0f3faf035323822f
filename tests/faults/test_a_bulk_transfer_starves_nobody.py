"""R8, the other way round: small requests beside bulk transfers through the same agent are all answered, and soon."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from figures import LONG, Figures
from proxied import Proxied, joined
from sampling import percentile

from prouter.testing import Fleet

JOB = str(Path(__file__).parent / "streaming_job.py")
REQUESTS = 5000 if LONG else 300
CLIENTS = 8
BULK = 4
SECONDS = 5.0
"""In which each small request is answered, on a machine that is busy with much else; how soon usually is recorded."""


class Bulk:
    """Transfers without end, all through one agent; `moved` bytes until now."""

    def __init__(self, job: Proxied) -> None:
        self._url = job.router.url() + job.prefix
        self.moved = 0

    async def down(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self._url + "/bulk") as answer:
            async for data in answer.content.iter_any():
                self.moved += len(data)

    async def up(self, session: aiohttp.ClientSession) -> None:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield bytes(65536)
                self.moved += 65536

        async with session.post(self._url + "/up", data=body()):
            pass

    @contextlib.asynccontextmanager
    async def under_way(self, ways: str) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:
            one = {"down": [self.down], "up": [self.up], "both": [self.down, self.up]}[ways]
            running = [asyncio.create_task(one[number % len(one)](session)) for number in range(BULK)]
            try:
                yield
                assert not any(task.done() for task in running), "a bulk transfer ended"
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)


async def small_requests(job: Proxied, count: int) -> list[float]:
    """How long each took."""
    waits: list[float] = []
    urls = [job.router.url() + path for path in (f"{job.prefix}/small", f"/jobs/{job.info['uid']}/file/small")]

    async def client(session: aiohttp.ClientSession) -> None:
        while len(waits) < count:
            begun = time.monotonic()
            async with session.get(urls[len(waits) % 2]) as answer:
                assert answer.status == 200
                assert await answer.read() == b"small"
            waits.append(time.monotonic() - begun)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return waits


@pytest.mark.parametrize("ways", ["down", "both"])
async def test_small_requests_beside_bulk_transfers_are_all_answered(fleet: Fleet, figures: Figures, ways: str) -> None:
    make = await asyncio.to_thread(joined, fleet)
    job, busy = await asyncio.to_thread(make, JOB), await asyncio.to_thread(make, JOB)
    (job.sandbox / "small").write_bytes(b"small")
    alone = await small_requests(job, REQUESTS)
    bulk = Bulk(busy)
    async with bulk.under_way(ways):
        begun, moved = time.monotonic(), bulk.moved
        waits = await small_requests(job, REQUESTS)
        rate = (bulk.moved - moved) / (time.monotonic() - begun) / 1e6
    for name, found in (("alone", alone), (f"beside bulk {ways}", waits)):
        figures.record("R8", f"p99 of small requests {name}", percentile(found, 0.99) * 1000, unit="ms")
    figures.record("R8", f"bulk {ways} beside small requests", rate, unit="MB/s")
    assert max(waits) < SECONDS
    assert bulk.moved > moved, "the bulk transfers were starved"

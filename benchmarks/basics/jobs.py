"""Jobs: from nothing to the first proxied byte, and how many can be started."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time

from benchmarks.daemons import Pair
from benchmarks.proxies.systems import UPSTREAM, free_port

Figures = dict[str, float]
AT_ONCE = 8


async def first_byte(pair: Pair) -> Figures:
    """Creating a job with a Python program that serves, until the first byte of an answer of its comes proxied."""
    begun, before = time.perf_counter(), pair.cpu_seconds()
    job = await pair.client.create({"type": "uid", "uid": pair.uid}, "first byte")
    await job.start([sys.executable, str(UPSTREAM)], port={"mode": "assign"})
    async with pair.client.session.get(job.url("hundred")) as answer:
        await answer.content.readexactly(1)
    figures = {"ms": (time.perf_counter() - begun) * 1e3, "cpu_ms": (pair.cpu_seconds() - before) * 1e3}
    await job.remove()
    return figures


async def first_byte_direct(_: Pair) -> Figures:
    """The same program, started as a child and asked on loopback until it answers."""
    port, begun = free_port(), time.perf_counter()
    made = subprocess.Popen([sys.executable, str(UPSTREAM), str(port)], stdout=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /hundred HTTP/1.1\r\nHost: job\r\n\r\n")
                await reader.readexactly(1)
                writer.close()
                return {"ms": (time.perf_counter() - begun) * 1e3}
            await asyncio.sleep(0.002)
    finally:
        made.kill()
        made.wait()


async def start_alone(pair: Pair) -> Figures:
    """Starting a created job that serves nothing."""
    job = await pair.client.create({"type": "uid", "uid": pair.uid}, "start")
    begun = time.perf_counter()
    await job.start(["true"], port_expected_count=0)
    figures = {"ms": (time.perf_counter() - begun) * 1e3}
    await job.wait(10)
    await job.remove()
    return figures


async def started_a_second(pair: Pair, seconds: float) -> Figures:
    """Jobs of `true`, created, started, waited for and removed by some clients at once."""
    count, until = 0, time.perf_counter() + seconds

    async def one_client() -> None:
        nonlocal count
        while time.perf_counter() < until:
            job = await pair.client.create({"type": "uid", "uid": pair.uid}, "many")
            await job.start(["true"], port_expected_count=0)
            await job.wait(10)
            await job.remove()
            count += 1

    begun, before = time.perf_counter(), pair.cpu_seconds()
    await asyncio.gather(*(one_client() for _ in range(AT_ONCE)))
    took = time.perf_counter() - begun
    return {"a_second": count / took, "cpu_ms": (pair.cpu_seconds() - before) / count * 1e3}

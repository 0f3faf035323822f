"""The loads: each is put on one system for some seconds and gives a row of figures.

A load that goes wrong is a row, too: what was wrong is counted in `errors`, and a load that could not be measured at
all raises Broken. Memory is the most that was seen while the load went on, of all processes of the proxy together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs import cpu_seconds, memory_mib
from benchmarks.machine import GIB
from benchmarks.proxies.systems import System, needed

SOCKETS = Path(__file__).resolve().parent / "sockets.py"
UNLIKE = Path(__file__).resolve().parent / "unlike.lua"
POST = Path(__file__).resolve().parent / "post.lua"
BROWSER = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://localhost/somewhere/else?page=2",
    "Cookie: _xsrf=2|7586b241|47c8f2c7; theme=dark; session=9f1c3a7e5b",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
    "Cache-Control: max-age=0",
]
"""What a browser sends."""
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
SAMPLE_SECONDS = 0.5
LOAD_SECONDS = 120.0
"""After which a load has failed."""
IDLE_COUNT = 1000


class Broken(Exception):
    """There is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long and how much."""

    seconds: int
    bulk_bytes: int


Figures = dict[str, float]
Load = Callable[[System, Length], Awaitable[Figures]]


@contextlib.asynccontextmanager
async def watched(system: System) -> AsyncIterator[Figures]:
    """What the proxy took in the meantime: `cpu_s` and `memory_mib`, there at the end."""
    taken, most = Figures(), 0.0

    async def sample() -> None:
        nonlocal most
        while True:
            most = max(most, memory_mib(system.pids))
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    before = cpu_seconds(system.pids)
    try:
        yield taken
        taken["cpu_s"] = cpu_seconds(system.pids) - before
        taken["memory_mib"] = max(most, memory_mib(system.pids))
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling


async def said(words: list[str]) -> str:
    """What a program says. Raises Broken when it fails."""
    made = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(LOAD_SECONDS):  # wait_for of Python 3.11 may lose a cancellation
            out, err = await made.communicate()
    except TimeoutError:
        raise Broken(f"{Path(words[0]).name} took more than {LOAD_SECONDS:g} s") from None
    finally:
        if made.returncode is None:
            made.kill()
            await made.wait()
    if made.returncode != 0:
        raise Broken(f"{' '.join(words[:2])}: {(err or out).decode(errors='replace')[-500:]}")
    return out.decode(errors="replace")


async def wrk(system: System, length: Length, connections: int, *headers: str, script: Path | None = None) -> Figures:
    """GETs of 100 bytes as fast as they are answered, or what the script asks for."""
    words = [needed("wrk"), "-t1", f"-c{connections}", f"-d{length.seconds}s", "--latency", "--timeout", "30s"]
    words += [word for header in headers for word in ("-H", header)]
    words += ["-s", str(script)] if script is not None else []
    async with watched(system) as taken:
        text = await said([*words, f"http://{system.host}:{system.port}{system.prefix}/hundred"])
    return wrk_figures(text) | _each(taken, wrk_count(text))


async def burst(system: System, length: Length) -> Figures:
    """The first second of 256 connections, of a system that was just started and has had one for a second."""
    await wrk(system, Length(1, 0), 1)
    return await wrk(system, Length(1, 0), 256)


def wrk_count(text: str) -> int:
    """Of the requests that wrk says it made."""
    return int(_found(r"(\d+) requests in", text)[0])


def wrk_figures(text: str) -> Figures:
    """What wrk says: requests a second, percentiles in milliseconds, errors. Raises Broken for anything else."""
    figures = {"rate": float(_found(r"Requests/sec:\s+([\d.]+)", text)[0]), "errors": float(wrk_errors(text))}
    for share in ("50", "99"):
        number, unit = _found(rf"\n\s+{share}%\s+([\d.]+)(us|ms|s|m)\b", text)
        figures[f"p{share}_ms"] = float(number) * UNITS[unit]
    return figures


def wrk_errors(text: str) -> int:
    """Answers that were none, and connections that broke."""
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return (int(bad[1]) if bad else 0) + (sum(int(found) for found in sockets.groups()) if sockets else 0)


def _found(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    if found is None:
        raise Broken(f"wrk says something else: {text[-500:]}")
    return found.groups()


def _each(taken: Figures, count: int) -> Figures:
    """CPU of one of so many."""
    return {"cpu_us": taken["cpu_s"] / max(count, 1) * 1e6, "memory_mib": taken["memory_mib"]}


async def scraped(system: System, length: Length) -> Figures:
    """GETs while somebody reads the router's /metrics each second."""

    async def scrape() -> None:
        while True:
            await said([needed("curl"), "-sS", "-f", "-o", os.devnull, f"http://{system.host}:{system.port}/metrics"])
            await asyncio.sleep(1)

    return await _beside(scrape(), wrk(system, length, 32))


async def bulk(system: System, length: Length, *words: str, target: str) -> Figures:
    """One transfer by curl; CPU is that of a GiB."""
    url = f"http://{system.host}:{system.port}{system.prefix}{target}"
    tell = "%{size_download} %{size_upload} %{time_total}"
    async with watched(system) as taken:
        told = await said([needed("curl"), "-sS", "-f", "-o", os.devnull, "-w", tell, *words, url])
    *sizes, seconds = (float(word) for word in told.split())
    gib = sum(sizes) / GIB
    if gib < length.bulk_bytes / GIB:
        raise Broken(f"only {gib:.3f} GiB came")
    figures = {"gib_s": gib / seconds, "cpu_s_gib": taken["cpu_s"] / gib}
    return figures | {"memory_mib": taken["memory_mib"], "errors": 0.0}


async def down(system: System, length: Length) -> Figures:
    return await bulk(system, length, target=f"/bulk/{length.bulk_bytes}")


async def up(system: System, length: Length) -> Figures:
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(length.bulk_bytes)
        return await bulk(system, length, "-T", file.name, "-H", "Expect:", target="/upload")


async def beside(system: System, length: Length) -> Figures:
    """GETs while a bulk download from another server goes on; no CPU each, since it is that of both. What the download
    got is told."""
    url = f"{system.bulk}/bulk/{1024 * GIB}"
    words = [needed("curl"), "-sS", "-f", "-o", os.devnull, url]
    download = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
    try:
        await asyncio.sleep(0.3)
        before, begun = written_bytes(download.pid), time.perf_counter()
        figures = await wrk(system, length, 32)
        if download.returncode is not None:
            raise Broken(f"the download ended, curl says {download.returncode}")
        figures["gib_s"] = (written_bytes(download.pid) - before) / GIB / (time.perf_counter() - begun)
    finally:
        if download.returncode is None:
            download.kill()
        await download.wait()
    del figures["cpu_us"]
    return figures


def written_bytes(pid: int) -> int:
    """Bytes that a process has written, here to where they vanish."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


async def _beside(endless: Awaitable[None], load: Awaitable[Figures]) -> Figures:
    """The load while the other goes on; what ends the other ends both."""
    other, main = asyncio.ensure_future(endless), asyncio.ensure_future(load)
    try:
        await asyncio.wait((other, main), return_when=asyncio.FIRST_COMPLETED)
        if other.done():
            other.result()
        return await main
    finally:
        for task in (other, main):
            task.cancel()
        await asyncio.gather(other, main, return_exceptions=True)


def client(what: str, system: System, count: int) -> list[str]:
    """The words of sockets.py."""
    return [sys.executable, str(SOCKETS), what, system.host, str(system.port), f"{system.prefix}/ws", str(count)]


async def websockets(system: System, length: Length) -> Figures:
    """64 connections, on each a message of 64 bytes and its echo, over and over."""
    async with watched(system) as taken:
        told: Figures = json.loads(await said([*client("echo", system, 64), f"{length.seconds:g}"]))
    count = int(told.pop("count"))
    return told | _each(taken, count)


async def idle(system: System, length: Length) -> Figures:
    """Memory that 1,000 open websockets take beside what the proxy takes without them, once it has had some."""
    await said([*client("echo", system, 10), "0.5"])
    await asyncio.sleep(0.5)
    before = memory_mib(system.pids)
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec(*client("idle", system, IDLE_COUNT), stdin=pipe, stdout=pipe)
    assert made.stdout is not None
    assert made.stdin is not None
    try:
        line = await asyncio.wait_for(made.stdout.readline(), LOAD_SECONDS)
        if line != b"open\n":
            raise Broken("the websockets did not open")
        await asyncio.sleep(1)
        after = memory_mib(system.pids)
        made.stdin.close()
        told = json.loads(await asyncio.wait_for(made.stdout.read(), LOAD_SECONDS))
        await asyncio.wait_for(made.wait(), LOAD_SECONDS)
        return {"mib": after - before, "memory_mib": after, "errors": float(told["errors"])}
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()


LOADS: Mapping[str, Load] = {
    "get32": lambda system, length: wrk(system, length, 32),
    "get256": lambda system, length: wrk(system, length, 256),
    "burst": burst,
    "headers": lambda system, length: wrk(system, length, 32, *BROWSER),
    "unlike": lambda system, length: wrk(system, length, 32, script=UNLIKE),
    "post": lambda system, length: wrk(system, length, 32, script=POST),
    "new": lambda system, length: wrk(system, length, 32, "Connection: close"),
    "down": down,
    "up": up,
    "sockets": websockets,
    "beside": beside,
    "idle": idle,
    "scraped": scraped,
}
"""By the name that rows have."""

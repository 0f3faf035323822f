"""The loads: each is put on one system for some seconds and gives a row of figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from benchmarks.proxies.costs import cpu_seconds, memory_mib
from benchmarks.proxies.systems import HERE, System, needed

GIB = 2**30
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


@dataclass(frozen=True, slots=True)
class Length:
    """How long and how much."""

    seconds: int
    bulk_bytes: int


Figures = dict[str, float]
Load = Callable[[System, Length], Awaitable[Figures]]


async def said(words: list[str]) -> str:
    """What a program says. Raises SystemExit when it fails."""
    made = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await asyncio.wait_for(made.communicate(), 300)
    finally:
        if made.returncode is None:
            made.kill()
            await made.wait()
    if made.returncode != 0:
        raise SystemExit(f"{' '.join(words[:3])}: {out.decode(errors='replace')[-500:]}")
    return out.decode(errors="replace")


async def wrk(system: System, length: Length, connections: int, *headers: str, path: str = "/hundred") -> Figures:
    """GETs as fast as they are answered."""
    words = [needed("wrk"), "-t1", f"-c{connections}", f"-d{length.seconds}s", "--latency", "--timeout", "30s"]
    words += [word for header in headers for word in ("-H", header)]
    before = cpu_seconds(system.pids)
    text = await said([*words, f"http://{system.host}:{system.port}{system.prefix}{path}"])
    used = cpu_seconds(system.pids) - before
    done = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert done is not None, text
    assert rate is not None, text
    count = int(done[1])
    figures = {"rate": float(rate[1]), "cpu_us": used / max(count, 1) * 1e6, "errors": float(errors(text))}
    for share in ("50", "99"):
        found = re.search(rf"\n\s+{share}%\s+([\d.]+)(us|ms|s|m)\b", text)
        assert found is not None, text
        figures[f"p{share}_ms"] = float(found[1]) * UNITS[found[2]]
    return figures


def errors(text: str) -> int:
    """Answers that were none, and connections that broke."""
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return (int(bad[1]) if bad else 0) + (sum(int(found) for found in sockets.groups()) if sockets else 0)


async def bulk(system: System, length: Length, *words: str, target: str) -> Figures:
    """One transfer by curl; CPU is that of a GiB."""
    before, begun = cpu_seconds(system.pids), time.perf_counter()
    url = f"http://{system.host}:{system.port}{system.prefix}{target}"
    told = await said(
        [needed("curl"), "-sS", "-f", "-o", os.devnull, "-w", "%{size_download} %{size_upload}", *words, url]
    )
    seconds = time.perf_counter() - begun
    gib = sum(int(float(size)) for size in told.split()) / GIB
    if gib < length.bulk_bytes / GIB:
        raise SystemExit(f"{system.name}: only {gib:.2f} GiB came")
    return {"cpu_s_gib": (cpu_seconds(system.pids) - before) / gib, "gib_s": gib / seconds, "errors": 0.0}


async def down(system: System, length: Length) -> Figures:
    return await bulk(system, length, target=f"/bulk/{length.bulk_bytes}")


async def up(system: System, length: Length) -> Figures:
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(length.bulk_bytes)
        return await bulk(system, length, "-T", file.name, "-H", "Expect:", target="/upload")


async def beside(system: System, length: Length) -> Figures:
    """GETs while a bulk download goes on."""

    async def download() -> None:
        while True:
            await down(system, Length(length.seconds, 4 * GIB))

    load = asyncio.create_task(download())
    try:
        await asyncio.sleep(0.3)
        return await wrk(system, length, 32)
    finally:
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load


def client(what: str, system: System) -> list[str]:
    return [sys.executable, str(HERE / "sockets.py"), what, system.host, str(system.port), f"{system.prefix}/ws"]


async def websockets(system: System, length: Length) -> Figures:
    """64 connections, on each a message of 64 bytes and its echo, over and over."""
    before = cpu_seconds(system.pids)
    words = [
        sys.executable,
        str(HERE / "sockets.py"),
        "echo",
        system.host,
        str(system.port),
        f"{system.prefix}/ws",
        "64",
    ]
    told = json.loads(await said([*words, f"{length.seconds:g}"]))
    used = cpu_seconds(system.pids) - before
    count = told.pop("count")
    return {**told, "cpu_us": used / max(count, 1) * 1e6}


async def idle(system: System, length: Length) -> Figures:
    """Memory that 1,000 open websockets take beside what the proxy takes without them."""
    before = memory_mib(system.pids)
    words = [
        sys.executable,
        str(HERE / "sockets.py"),
        "idle",
        system.host,
        str(system.port),
        f"{system.prefix}/ws",
        "1000",
    ]
    made = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    try:
        assert made.stdout is not None
        assert made.stdin is not None
        line = await asyncio.wait_for(made.stdout.readline(), 60)
        if line != b"open\n":
            raise SystemExit(f"{system.name}: the websockets did not open")
        await asyncio.sleep(1)
        memory = memory_mib(system.pids) - before
        made.stdin.close()
        told = json.loads(await asyncio.wait_for(made.stdout.read(), 60))
        return {"mib": memory, "errors": float(told["errors"])}
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()


LOADS: Mapping[str, tuple[str, Load]] = {
    "get32": ("GET, 32 connections", lambda system, length: wrk(system, length, 32)),
    "get256": ("GET, 256 connections", lambda system, length: wrk(system, length, 256)),
    "headers": (
        "GET, 32 connections, twelve browser headers",
        lambda system, length: wrk(system, length, 32, *BROWSER),
    ),
    "new": ("GET, a new connection each", lambda system, length: wrk(system, length, 32, "Connection: close")),
    "down": ("1 GiB down", down),
    "up": ("1 GiB up", up),
    "sockets": ("websockets, 64 x 64 B", websockets),
    "beside": ("GET, 32 connections, beside a bulk download", beside),
    "idle": ("memory of 1,000 idle websockets", idle),
}
"""By its short name: what it is, and how."""

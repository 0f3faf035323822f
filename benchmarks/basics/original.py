"""An agent of the original kind behind our router: all goes over its one link, in messages of protocol v1.

The agent is the imitation that the tests have; what the originals themselves would do is not known from it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.basics.files import moved
from benchmarks.costs import cpu_seconds
from benchmarks.daemons import START_SECONDS, Pair, connected
from benchmarks.machine import GIB
from benchmarks.pages import ROOT
from benchmarks.proxies.loads import Length, wrk
from benchmarks.proxies.systems import UPSTREAM, System

Rows = dict[str, dict[str, float]]
PROGRAM = ROOT / "tests" / "originals" / "pagent.py"
UID = "original"
BULK_BYTES = GIB // 16


async def through_v1(pair: Pair, place: Path, seconds: int) -> Rows:
    """GETs over 32 connections, and a download."""
    with imitated(pair, place) as agent:
        await connected(pair.client, UID)
        job = await pair.client.create({"type": "uid", "uid": UID}, "of an original")
        await job.start([sys.executable, str(UPSTREAM)])
        parts = urlsplit(job.url(""))
        assert parts.hostname is not None
        assert parts.port is not None
        pids = (pair.router.pid, agent.pid)
        system = System("v1", parts.hostname, parts.port, parts.path.rstrip("/"), pids)
        before = cpu_seconds([pair.router.pid])
        gets = await wrk(system, Length(seconds, 0), 32)
        gets["router_us"] = (cpu_seconds([pair.router.pid]) - before) / max(gets["rate"] * seconds, 1) * 1e6
        bulk = await moved(lambda: cpu_seconds(pids), BULK_BYTES, job.url(f"bulk/{BULK_BYTES}"))
        await job.remove()
    return {
        "v1 GET": {name: gets[name] for name in ("rate", "cpu_us", "router_us", "p99_ms", "errors")},
        "v1 down": bulk,
    }


@contextlib.contextmanager
def imitated(pair: Pair, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ready, and ended with the context."""
    place.mkdir()
    log = place / "log"
    words = ["--router", pair.server, "--token", pair.token, "--uid", UID, "--root", str(place)]
    with log.open("wb") as out:
        agent = subprocess.Popen([sys.executable, str(PROGRAM), *words], stdout=out, stderr=out, cwd=place)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not any(line.startswith("READY ") for line in log.read_text().splitlines()):
            if agent.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the imitated agent did not come: {json.dumps(log.read_text()[-500:])}")
            time.sleep(0.01)
        yield agent
    finally:
        agent.terminate()
        agent.wait(START_SECONDS)

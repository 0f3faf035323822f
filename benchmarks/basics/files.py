"""Bytes both ways by curl: as files of a sandbox, through the proxy to a job that throws them away, and without us."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.daemons import Pair
from benchmarks.machine import GIB
from benchmarks.proxies.loads import said
from benchmarks.proxies.systems import UPSTREAM, needed

Rows = dict[str, dict[str, float]]


async def files(pair: Pair, size: int) -> Rows:
    """Up then down, each way; `s` is that of a GiB."""
    job = await pair.client.create({"type": "uid", "uid": pair.uid}, "files")
    await job.start([sys.executable, str(UPSTREAM)], port={"mode": "assign"})
    direct = f"http://127.0.0.1:{job.info['ports']['http']}/"
    file_url = f"{pair.client.url}{job.path}/file/big.bin"
    rows: Rows = {}
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        raw = ["-H", "Expect:", "-H", "Content-Type: application/octet-stream"]
        rows["file up"] = await moved(pair.cpu_seconds, size, *raw, "-X", "POST", "-T", file.name, file_url)
        rows["file down"] = await moved(pair.cpu_seconds, size, file_url)
        rows["proxied up"] = await moved(pair.cpu_seconds, size, *raw, "-T", file.name, job.url("upload"))
        rows["proxied down"] = await moved(pair.cpu_seconds, size, job.url(f"bulk/{size}"))
        rows["direct up"] = await moved(pair.cpu_seconds, size, *raw, "-T", file.name, f"{direct}upload")
        rows["direct down"] = await moved(pair.cpu_seconds, size, f"{direct}bulk/{size}")
        rows["disk"] = {"s": written(Path(file.name).parent, size) * GIB / size}
    await job.remove()
    for name in ("direct up", "direct down"):
        del rows[name]["cpu_s"]
    return rows


async def moved(cpu_seconds: Callable[[], float], size: int, *words: str) -> dict[str, float]:
    """Time and CPU of a GiB in one transfer that must be whole."""
    before = cpu_seconds()
    tell = "%{size_download} %{size_upload} %{time_total}"
    told = await said([needed("curl"), "-sS", "-f", "-o", os.devnull, "-w", tell, *words])
    down, up, seconds = (float(word) for word in told.split())
    if max(down, up) < size:
        raise SystemExit(f"only {max(down, up):.0f} bytes of {size} came: {words[-1]}")
    return {"s": seconds * GIB / size, "cpu_s": (cpu_seconds() - before) * GIB / size}


def written(place: Path, size: int) -> float:
    """Seconds for as many bytes into a file until they are safe, as an upload has to."""
    block, begun = bytes(2**20), time.perf_counter()
    with tempfile.NamedTemporaryFile(dir=place) as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - begun

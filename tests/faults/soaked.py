"""What a fleet has, looked at again and again while it is soaked: written down for a picture, and compared afterwards.

Belongs here: counting from outside, and what is kept of it. Does not: load and faults (soaking.py), what is promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inside import inside
from sampling import Sampler

from prouter.testing import AgentDaemon, Daemon
from prouter.testing.processes import tagged_processes

STATES = {"01": "established", "04": "fin-wait", "05": "fin-wait", "08": "close-wait", "0A": "listens"}


def sockets_by_state(pid: int) -> Counter[str]:
    """Of a process's TCP sockets."""
    mine = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            mine.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    found: Counter[str] = Counter()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in mine:
                found[STATES.get(fields[3], "other")] += 1
    return found


def zombies_of(tag: str) -> list[int]:
    """Processes that ended and that nobody waits for, below any of the test's."""
    parents = set(tagged_processes(tag))
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[1]) in parents:
                found.append(int(entry.name))
    return found


async def counted(daemons: Sequence[Daemon], tag: str) -> dict[str, int]:
    """All that must be as before, by name: of each daemon, and of all together."""
    found: dict[str, int] = {}
    for daemon in daemons:
        name, sampler = daemon.place.name, Sampler(daemon.pid)
        found[f"{name}: tasks"] = (await inside(daemon))["tasks"]
        found[f"{name}: descriptors"] = sampler.descriptors()
        for state, count in sockets_by_state(daemon.pid).items():
            found[f"{name}: sockets, {state}"] = count
        if isinstance(daemon, AgentDaemon):
            found[f"{name}: sandboxes"] = len(os.listdir(daemon.jobs))
    found["processes"] = len(tagged_processes(tag))
    return found


def more_than(before: Mapping[str, int], now: Mapping[str, int], least: int) -> dict[str, tuple[int, int]]:
    """What differs by more than `least`."""
    names = before.keys() | now.keys()
    pairs = {name: (before.get(name, 0), now.get(name, 0)) for name in names}
    return {name: pair for name, pair in pairs.items() if abs(pair[1] - pair[0]) > least}


class Samples:
    """Memory and descriptors of daemons, by time."""

    def __init__(self, daemons: Sequence[Daemon], place: Path) -> None:
        self._daemons = daemons
        self._place = place
        self._begun = 0.0
        self._samples: list[dict[str, Any]] = []

    @asynccontextmanager
    async def taken(self, every_seconds: float) -> AsyncIterator[None]:
        self._begun = time.time()

        async def look() -> None:
            while True:
                self._samples.append({"at": time.time() - self._begun} | self._now())
                await asyncio.sleep(every_seconds)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])

    def _now(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for daemon in self._daemons:
            with contextlib.suppress(OSError):  # it was killed, and the next one is not there yet
                sampler = Sampler(daemon.pid)
                found[daemon.place.name] = {
                    "pid": daemon.pid,
                    "rss_kib": sampler.rss_kib(),
                    "descriptors": sampler.descriptors(),
                }
        return found

    def growth_percent(self, daemon: Daemon) -> float:
        """Of its memory, of what it was in the middle."""
        middle, last = self._thirds(daemon)
        return 100 * (last / middle - 1)

    def growth_mib(self, daemon: Daemon) -> float:
        middle, last = self._thirds(daemon)
        return (last - middle) / 1024

    def _thirds(self, daemon: Daemon) -> tuple[float, float]:
        """KiB in the middle and in the last third of the life of the process that it is in the end."""
        mine = [kib for _, kib in self._of(daemon)]
        third = len(mine) // 3
        assert third, "it was not seen often enough"
        return statistics.median(mine[third:-third]), statistics.median(mine[-third:])

    def slope_mib_an_hour(self, daemon: Daemon) -> float:
        """Of the line that is nearest to its memory in the second half, in which nobody is another process."""
        middle = self._samples[-1]["at"] / 2
        times, sizes = zip(*((at, kib) for at, kib in self._of(daemon) if at >= middle), strict=True)
        return statistics.linear_regression(times, sizes).slope * 3600 / 1024

    def _of(self, daemon: Daemon) -> list[tuple[float, float]]:
        """When, and KiB, of the process that it is in the end."""
        seen = [(each["at"], each[daemon.place.name]) for each in self._samples if daemon.place.name in each]
        return [(at, one["rss_kib"]) for at, one in seen if one["pid"] == daemon.pid]

    def write(self, faults: Sequence[tuple[float, str]], **more: Any) -> None:
        """For benchmarks/reliability/soak.py, which draws it."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        told = [{"at": at - self._begun, "what": what} for at, what in faults]
        self._place.write_text(json.dumps({"samples": self._samples, "faults": told} | more) + "\n")

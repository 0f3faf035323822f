"""What a process takes of its machine, read from /proc: memory, descriptors, CPU time.

Belongs here: looking at processes from outside. Does not: what is promised of them (the tests), how it is written
down (figures.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Sampler:
    """Of one process that runs; methods raise OSError when it is gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._place = Path(f"/proc/{pid}")

    def rss_kib(self) -> int:
        """What it has in memory now."""
        return self._status("VmRSS")

    def peak_kib(self) -> int:
        """The most that it had in memory since it began, or since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        with contextlib.suppress(OSError):  # not allowed everywhere; the peak is then that of its whole life
            (self._place / "clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(self._place / "fd"))

    def sockets(self) -> int:
        """How many of its descriptors are sockets."""
        found = 0
        for name in os.listdir(self._place / "fd"):
            with contextlib.suppress(OSError):  # closed since
                found += (self._place / "fd" / name).readlink().name.startswith("socket:")
        return found

    def unsent_bytes(self) -> list[int]:
        """What the kernel holds of each of its TCP connections that its peer has not taken: where there is any."""
        mine = set()
        for name in os.listdir(self._place / "fd"):
            with contextlib.suppress(OSError):
                mine.add((self._place / "fd" / name).readlink().name)
        found = []
        for table in ("tcp", "tcp6"):
            for line in (self._place / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                queued = int(fields[4].partition(":")[0], 16)
                if queued and fields[3] != "0A" and f"socket:[{fields[9]}]" in mine:  # 0A: listens
                    found.append(queued)
        return found

    def threads(self) -> int:
        return self._status("Threads")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads until now, by the scheduler's clock: ticks are too coarse."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            tasks = list((self._place / "task").iterdir())
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        fields = (self._place / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_SECONDS

    def _status(self, name: str) -> int:
        for line in (self._place / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        return 0


class Growth:
    """How much the memory of a process grew at most, beginning now."""

    def __init__(self, pid: int) -> None:
        self.sampler = Sampler(pid)
        self.sampler.forget_peak()
        self.begun_kib = self.sampler.rss_kib()

    def mib(self) -> float:
        return max(0, self.sampler.peak_kib() - self.begun_kib) / 1024


@contextlib.asynccontextmanager
async def most(sampler: Sampler, every_seconds: float = 0.1) -> AsyncIterator[list[int]]:
    """The most descriptors that it has meanwhile, in a list of one, looked at again and again."""
    found = [sampler.descriptors()]

    async def look() -> None:
        while True:
            found[0] = max(found[0], sampler.descriptors())
            await asyncio.sleep(every_seconds)

    looking = asyncio.create_task(look())
    try:
        yield found
    finally:
        looking.cancel()
        await asyncio.wait([looking])


def percentile(values: list[float], part: float) -> float:
    """`part` between 0 and 1; of no values: 0."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]

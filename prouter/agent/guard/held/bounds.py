"""Watching a job's tree against its limits: what the kernel counts in its groups, else what /proc says of each process.

How long a look took says when the next may come, so that a job pays a few percent for being watched, however large its
tree is. Belongs here: how much is used, and in which words it was too much. Ending the tree is the guardian's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from . import cgroup, grown, trees
from .controllers import Controllers
from .measure import Measure
from .walk import Walk

COST = 20
"""Rests are so many times longer than looks."""
MEMORY_SECONDS, OTHER_SECONDS, SANDBOX_SECONDS = 0.05, 0.1, 0.5
"""From one look to the next, at least."""
UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

Excess = tuple[str, str]
"""A job's reason, and what it did, for people."""


class Bounds:
    """Of one run of a job. `excess` is asked often and looks when it is time to."""

    def __init__(self, limits: dict[str, int], group: str, controllers: Controllers, sandbox: str) -> None:
        self._limits = limits
        self._group = group
        self._controllers = controllers
        self._cpu = CpuOfTree()
        self._walk = Walk(Measure(sandbox))
        self._sandbox_path = sandbox
        self._due: dict[Callable[[], Excess | None], float] = {}
        looks = {"processes": self._processes, "memory_bytes": self._memory, "cpu_seconds": self._cpu_time}
        for name, look in (looks | {"sandbox_bytes": self._sandbox}).items():
            if limits.get(name):
                self._due[look] = 0.0
        self._pss_due = 0.0
        self._strays: list[int] = []
        """Of the tree, and in none of its groups when that was looked at."""
        self._strays_due = 0.0
        self._rest = -1.0
        """What the look that is under way says of the next one; negative: nothing."""
        self.seconds = MEMORY_SECONDS if limits.get("memory_bytes") and not controllers.memory else OTHER_SECONDS
        """Between two times at which to ask."""

    def excess(self) -> Excess | None:
        """The limit that the job is beyond, if any."""
        for look, due in self._due.items():
            began = time.monotonic()
            if began < due:
                continue
            self._rest = -1.0
            found = look()
            if found is not None:
                return found
            ended = time.monotonic()
            rest = max(self.seconds, COST * (ended - began)) if self._rest < 0 else self._rest
            self._due[look] = ended + rest
        return None

    def at_end(self, exit_code: int | None) -> Excess | None:
        """Why the main process ended, where that was a limit that the kernel keeps."""
        if found := self._memory_was_refused() or self._tasks_were_refused():
            return found
        if exit_code == -signal.SIGXCPU and "cpu_seconds" in self._limits:
            return self._too_long()
        return self._too_large(exit_code) if exit_code and "file_bytes" in self._limits else None

    # --- looks ---

    def _pids(self, *, exact: bool = False) -> list[int]:
        """All of the job. Where it has a group, those that left it are looked for now and then, or when `exact`."""
        if not self._group:
            return trees.descendants(os.getpid())
        began = time.monotonic()
        tree = trees.descendants(os.getpid()) if exact or began >= self._strays_due else None
        inside = set(cgroup.pids(self._group))
        if tree is not None:
            self._strays = [pid for pid in tree if pid not in inside and not trees.is_dead(pid)]
            ended = time.monotonic()
            self._strays_due = ended + max(OTHER_SECONDS, COST * (ended - began))
        return [*inside, *(pid for pid in self._strays if pid not in inside)]

    def _processes(self) -> Excess | None:
        most, count = self._limits["processes"], len(self._pids())
        if self._strays and count > most:
            count = len(self._pids(exact=True))
        self._rest = 0.0  # a storm of forks is quick
        if count > most // 4:
            trees.take_over()
        if count > most:
            return "limit", f"it had more processes than its limit of {most}"
        return self._tasks_were_refused()

    def _memory(self) -> Excess | None:
        if self._controllers.memory:
            return self._memory_was_refused()
        most, pids = self._limits["memory_bytes"], self._pids()
        if sum(resident_bytes(pid) for pid in pids) <= most or time.monotonic() < self._pss_due:
            return None
        began = time.monotonic()  # what processes share was counted for each of them: exact is slow
        if sum(proportional_bytes(pid) for pid in pids) > most:
            return self._out_of_memory()
        self._pss_due = time.monotonic() + COST * (time.monotonic() - began)
        return None

    def _cpu_time(self) -> Excess | None:
        if self._controllers.cpu:
            used = self._controllers.rise(self._controllers.cpu_seconds)
        else:
            used = self._cpu.seconds(self._pids())
        return self._too_long() if used > self._limits["cpu_seconds"] else None

    def _sandbox(self) -> Excess | None:
        """After a whole walk it rests."""
        walked = self._walk.look()
        if walked is None:
            self._rest = OTHER_SECONDS / 2
            return None
        size, seconds = walked
        self._rest = max(SANDBOX_SECONDS, COST * seconds)
        most = self._limits["sandbox_bytes"]
        return ("limit", f"its sandbox grew beyond its limit of {in_units(most)}") if size > most else None

    def _too_large(self, exit_code: int) -> Excess | None:
        """A program that ignores SIGXFSZ, as Python does, is told by a failed write, and ends as it likes."""
        if exit_code < 0 and exit_code not in (-signal.SIGXFSZ, -signal.SIGABRT):
            return None
        most = self._limits["file_bytes"]
        found = grown.file_of_size(self._sandbox_path, most, self._controllers.began_at())
        if not found and exit_code != -signal.SIGXFSZ:
            return None
        return "limit", f"a file of it grew beyond its limit of {in_units(most)}" + (f": {found}" if found else "")

    def _memory_was_refused(self) -> Excess | None:
        return self._out_of_memory() if self._controllers.rise(self._controllers.oom_kills) > 0 else None

    def _tasks_were_refused(self) -> Excess | None:
        if self._controllers.rise(self._controllers.forks_refused) <= 0:
            return None
        most, tasks = self._limits["processes"], self._controllers.most_tasks
        return "limit", f"it had more than the {tasks} processes and threads that its limit of {most} processes allows"

    def _out_of_memory(self) -> Excess:
        return "out-of-memory", f"it used more memory than its limit of {in_units(self._limits['memory_bytes'])}"

    def _too_long(self) -> Excess:
        return "limit", f"it used more CPU time than its limit of {self._limits['cpu_seconds']} s"


class CpuOfTree:
    """CPU time of all below this process, from two counts that are both too low, never too high.

    What parents were told when they waited misses children that nobody waits for; what was seen of each process misses
    those that came and went between two looks.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}
        self._gone = 0
        """Ticks of processes that were seen and are not there any more."""

    def seconds(self, pids: list[int]) -> float:
        waited_for = trees.cpu_ticks(os.getpid())[1]
        now: dict[tuple[int, str], int] = {}
        for pid in pids:
            fields = trees.stat_fields(pid)
            if len(fields) > 19:
                own = int(fields[11]) + int(fields[12])
                waited_for += own + int(fields[13]) + int(fields[14])
                now[pid, fields[19]] = own
        self._gone += sum(own for key, own in self._seen.items() if key not in now)
        self._seen = now
        return max(waited_for, self._gone + sum(now.values())) / TICKS


def resident_bytes(pid: int) -> int:
    """Pages in memory, shared ones too; 0 when it is gone."""
    fields = trees.stat_fields(pid)
    return int(fields[21]) * PAGE_BYTES if len(fields) > 21 else 0


def proportional_bytes(pid: int) -> int:
    """Its own pages and its part of shared ones, swapped ones too; all that are in memory where we may not see that."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        lines = [line.split() for line in file]
        return sum(int(words[1]) for words in lines if words[0] in (b"Pss:", b"SwapPss:")) * 1024
    return resident_bytes(pid)


def in_units(size: int) -> str:
    """Exactly."""
    for name, unit in UNITS:
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"

"""What the kernel limits and counts for a whole job in cgroups: memory, CPU time, tasks; version 2, else version 1.

A version 2 group with the memory controller needs a parent without processes; cgroup.py looks for one. CPU time is
counted in every version 2 group. Version 1 groups are made only for the limits that a job has.

Tasks are processes and threads, and nobody limits threads to so few: what the kernel keeps is a net, far enough above
the limit of processes that only a storm meets it, and so near that no storm takes the machine, however late those are
who count processes (bounds.py).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import cgroup

CGROUP1, CGROUP2 = "cgroup1", "cgroup2"
PROBE = "probe-"
TASKS_FACTOR, TASKS_MORE = 4, 1024
"""The threads of one program on a machine with many processors are some hundreds, whatever its limit of processes."""
MOST_TASKS = 1 << 22
"""There are no more pids; the kernel takes no such limit."""
V1_CONTROLLERS = ("memory", "cpuacct", "pids")


@dataclass
class Controllers:
    """Of one run of a job. Counters may stand above zero when its group was there before: what counts is how far they
    rise above `before`."""

    memory: str = ""
    """CGROUP1, CGROUP2 or empty: nobody limits it here."""
    cpu: str = ""
    tasks: str = ""
    most_tasks: int = 0
    """More is refused by the kernel, where `tasks` says that it does so."""
    made: dict[str, str] = field(default_factory=dict)
    """Version 1 groups that are the job's own, by controller."""
    group: str = ""
    """Of version 2, empty when there is none."""
    before: dict[str, float] = field(default_factory=dict)
    """Counters before anything ran, by name of their method."""
    claimed_at: float = field(default_factory=time.time)
    _claimed: float = field(default_factory=time.monotonic)
    _near: bool = False
    """Whether there were half as many tasks as may be, or more, at the last look."""
    _elsewhere: int = 0
    """Forks that were refused, but not by the job's own limit."""

    def remember(self) -> None:
        """What stands there already."""
        self.before = {count.__name__: count() for count in (self.oom_kills, self.forks_refused, self.cpu_seconds)}

    def rise(self, count: Callable[[], float]) -> float:
        """Of one of the counters below."""
        return count() - self.before.get(count.__name__, 0)

    def began_at(self) -> float:
        """By the clock that files have the time of, or earlier: it may have been set back since."""
        return min(self.claimed_at, time.time() - (time.monotonic() - self._claimed))

    def enter(self) -> None:
        """Put this process into the version 1 groups. Raises OSError."""
        for path in self.made.values():
            cgroup.enter(path)

    def remove(self) -> None:
        """Once nobody is in them."""
        for path in self.made.values():
            cgroup.remove(path)

    def oom_kills(self) -> int:
        """Processes that the kernel killed for want of memory."""
        if self.memory == CGROUP2:
            return _field(f"{self.group}/memory.events", "oom_kill")
        groups = cgroup.below(self.made["memory"]) if self.memory else ()
        return sum(_field(f"{group}/memory.oom_control", "oom_kill") for group in groups)

    def forks_refused(self) -> int:
        """Times that a process or a thread was one too many. Kernels before Linux 6.11 count those for which there
        was no room above this group, or in one that the job made below it. Such are none of its limit's where the
        kernel knows that it was never so many (Linux 6.1), else where there were far fewer at this look and the last.
        """
        if not self.tasks:
            return 0
        top = self.group if self.tasks == CGROUP2 else self.made["pids"]
        refused = sum(_field(f"{group}/pids.events", "max") for group in cgroup.below(top))
        if peak := _read(f"{top}/pids.peak"):
            return refused if int(peak) >= self.most_tasks else 0
        was_near, self._near = self._near, int(_read(f"{top}/pids.current") or 0) >= self.most_tasks // 2
        if not was_near and not self._near:
            self._elsewhere = refused
        return refused - self._elsewhere

    def cpu_seconds(self) -> float:
        if self.cpu == CGROUP2:
            return _field(f"{self.group}/cpu.stat", "usage_usec") / 1e6
        return int(_read(f"{self.made['cpuacct']}/cpuacct.usage") or 0) / 1e9 if self.cpu else 0.0


def claim(job: str, group: str, limits: dict[str, int]) -> Controllers:
    """For a job with these limits, whose version 2 group is `group`; what is not possible is left to be watched."""
    found = Controllers(group=group)
    if "memory_bytes" in limits:
        _claim_memory(job, found, limits["memory_bytes"])
    if "cpu_seconds" in limits:
        if group and os.path.exists(f"{group}/cpu.stat"):
            found.cpu = CGROUP2
        elif path := _make_v1(job, "cpuacct"):
            found.made["cpuacct"], found.cpu = path, CGROUP1
    if "processes" in limits:
        _claim_tasks(job, found, TASKS_FACTOR * limits["processes"] + TASKS_MORE)
    found.remember()
    return found


def of(job: str) -> list[str]:
    """Version 1 groups that a job has, whoever made them from where we are."""
    paths = {f"{above}/{cgroup.PREFIX}{job}" for above in map(_v1_own, V1_CONTROLLERS) if above}
    return [path for path in sorted(paths) if os.path.isdir(path)]


def kinds() -> dict[str, str]:
    """How the kernel can limit here: CGROUP1 or CGROUP2 by name of the limit; tried, not guessed."""
    name = f"{PROBE}{os.getpid()}"
    group = cgroup.make(name)
    found = claim(name, group, {"memory_bytes": 1 << 30, "cpu_seconds": 1, "processes": 1})
    found.remove()
    if group:
        cgroup.remove(group)
    pairs = {"memory_bytes": found.memory, "cpu_seconds": found.cpu, "processes": found.tasks}
    return {limit: kind for limit, kind in pairs.items() if kind}


def _claim_memory(job: str, found: Controllers, limit: int) -> None:
    """No swap beyond it where that is counted, or a limit would only make the machine slow."""
    if found.group and os.path.exists(f"{found.group}/memory.max"):
        with contextlib.suppress(OSError):
            _write(f"{found.group}/memory.max", limit)
            for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
                with contextlib.suppress(OSError):
                    _write(f"{found.group}/{name}", value)
            found.memory = CGROUP2
            return
    if not (path := _make_v1(job, "memory")):
        return
    if not _limit_v1(path, limit):
        cgroup.remove(path)
        return
    found.made["memory"], found.memory = path, CGROUP1


def _claim_tasks(job: str, found: Controllers, most: int) -> None:
    if most >= MOST_TASKS:
        return
    if found.group and os.path.exists(f"{found.group}/pids.max"):
        with contextlib.suppress(OSError):
            _write(f"{found.group}/pids.max", most)
            found.tasks, found.most_tasks = CGROUP2, most
            return
    if not (path := _make_v1(job, "pids")):
        return
    try:
        _write(f"{path}/pids.max", most)
    except OSError:
        cgroup.remove(path)
        return
    found.made["pids"], found.tasks, found.most_tasks = path, CGROUP1, most


def _limit_v1(path: str, limit: int) -> bool:
    """The count of kills (Linux 4.13) has to be there: nobody could tell why a job ended without it."""
    if "oom_kill " not in _read(f"{path}/memory.oom_control"):
        return False
    with contextlib.suppress(OSError):  # groups below count, too (before Linux 5.11)
        _write(f"{path}/memory.use_hierarchy", 1)
    with contextlib.suppress(OSError):  # a group of an earlier run has a lower limit of both together
        _write(f"{path}/memory.memsw.limit_in_bytes", -1)
    try:
        _write(f"{path}/memory.limit_in_bytes", limit)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        _write(f"{path}/memory.memsw.limit_in_bytes", limit)
    return True


def _make_v1(job: str, controller: str) -> str:
    above = _v1_own(controller)
    path = f"{above}/{cgroup.PREFIX}{job}"
    if not above or not os.access(above, os.W_OK):
        return ""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        return ""
    return path


def _v1_own(controller: str) -> str:
    """The directory of this process's group of that controller; empty when there is none, or it can not be seen."""
    own = next(
        (where for _, names, where in _fields("/proc/self/cgroup", ":", 2) if controller in names.split(",")), None
    )
    if own is None:
        return ""
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind == "cgroup" and controller in options.rpartition(" ")[2].split(","):
            root, mount = before.split()[3:5]
            below = os.path.relpath(own, root)
            return "" if below.startswith("..") else os.path.normpath(f"{mount}/{below}")
    return ""


def _fields(path: str, separator: str, count: int) -> list[list[str]]:
    lines = (line.split(separator, count) for line in _read(path).splitlines())
    return [fields for fields in lines if len(fields) == count + 1]


def _field(path: str, name: str) -> int:
    """Of a file of lines `NAME NUMBER`; 0 when it is not there."""
    return next((int(value) for key, value in _fields(path, " ", 1) if key == name), 0)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, value: int) -> None:
    """Raises OSError."""
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))

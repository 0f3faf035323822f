"""Process trees in /proc: who is below whom, ending them, and telling a process from a later one with its number."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable

PR_SET_CHILD_SUBREAPER = 36
PF_EXITING = 0x4
PAUSE_SECONDS = 0.002
"""Between two rounds of killing: for the killed to be reaped."""
END_ROUNDS = 50
"""Of killing below somebody who hangs and so reaps nothing."""


def become_subreaper() -> None:
    """Orphans below us become our children (prctl(2), Linux 3.4). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def take_precedence() -> None:
    """Be scheduled soon although thousands of processes want to run; where we may not, we go on as we are."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def take_over() -> None:
    """Run before all ordinary processes: a storm of forks would leave us no time to end it. Children do not inherit."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def all_tasks() -> int:
    """Threads of the whole system."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0


def children(pid: int) -> list[int]:
    """Direct children; of a process that is gone: none."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            found.extend(int(word) for word in file.read().split())
    return found


def descendants(pid: int) -> list[int]:
    """All below a process, breadth first: parents before children, so that killing in this order stops forking."""
    found: list[int] = []
    level = children(pid)
    seen: set[int] = set()
    while level:
        fresh = [child for child in level if child not in seen]
        seen.update(fresh)
        found.extend(fresh)
        level = [grandchild for child in fresh for grandchild in children(child)]
    return found


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_guardian(pid: int, start: int) -> None:
    """One that hangs: first what is below it, so that nothing is left to fork once it is gone, then itself.

    Nobody, when the one that started at that time is gone.
    """
    for _ in range(END_ROUNDS):
        living = [below for below in descendants(pid) if not is_dead(below)]
        if not living or start_time(pid) != start:
            break
        kill_all(living)
        time.sleep(PAUSE_SECONDS)
    kill_if(pid, lambda pid: start_time(pid) == start)


def kill_if(pid: int, is_it: Callable[[int], bool]) -> None:
    """SIGKILL to one that is not our child: `is_it` looks when the signal can not reach a later one of its number."""
    try:
        held = os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS and is_it(pid):  # before Linux 5.3
            kill_all([pid])
        return
    try:
        if is_it(pid):
            signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(held)


def reap(seen: Callable[[int, int], None]) -> bool:
    """Collect children that have ended, telling `seen` pid and status. False: we have no children at all."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        seen(pid, status)


def end_below(seen: Callable[[int, int], None], *, also: Callable[[], None] | None = None) -> None:
    """Kill everything below this process, a subreaper, until waitpid says that there is nothing: that is exact."""
    while True:
        if also is not None:
            also()
        kill_all(descendants(os.getpid()))
        if not reap(seen):
            return
        time.sleep(PAUSE_SECONDS)


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, from field 3 on; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def cpu_ticks(pid: int) -> tuple[int, int]:
    """What a process has used itself, and what its children had that are gone and were waited for."""
    fields = stat_fields(pid)
    if len(fields) < 15:
        return 0, 0
    user, system, children_user, children_system = (int(field) for field in fields[11:15])
    return user + system, children_user + children_system


def start_time(pid: int) -> int:
    """In clock ticks since boot; 0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else 0


def is_dead(pid: int) -> bool:
    """Whether it is gone, or waits to be reaped."""
    fields = stat_fields(pid)
    return not fields or fields[0] in "ZX"


def is_exiting(pid: int) -> bool:
    """Whether a process is gone, or on its way out."""
    fields = stat_fields(pid)
    return not fields or fields[0] in "ZX" or bool(int(fields[6]) & PF_EXITING)


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def with_tag(tag: str) -> list[int]:
    """Processes in whose environment `NAME=VALUE` stands; `env -i` hides from this."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and has_tag(int(name), tag)]


def has_tag(pid: int, tag: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return tag.encode() in file.read().split(b"\0")
    except OSError:
        return False

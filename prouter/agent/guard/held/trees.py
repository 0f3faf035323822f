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
FLEETING, FLEETING_SECONDS = 16, 0.01
"""So many of the newest processes are looked at again and again for so long."""
MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What we may lack for a look: it says nothing of who is looked at."""
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


def kill_all(pids: Iterable[int], *, spare: int = 0) -> None:
    """SIGKILL to these and to their process groups, which is how those end that fork and are gone before we come to
    them: a group is killed at once, with what is just being forked in it. `spare` is a group that is none of theirs,
    as ours is not: a job's processes have left it before its program begins."""
    groups = {0, os.getpgrp(), spare}
    for pid in pids:
        group = group_of(pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        if group not in groups:
            groups.add(group)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def group_of(pid: int) -> int:
    """Its process group; 0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[2]) if len(fields) > 2 else 0


def end_guardian(pid: int, start: int) -> None:
    """One that hangs: first what is below it, so that nothing is left to fork once it is gone, then itself.

    Nobody, when the one that started at that time is gone.
    """
    for _ in range(END_ROUNDS):
        below = descendants(pid)
        if start_time(pid) != start:
            break
        kill_all(below, spare=group_of(pid))  # the dead, whom nobody reaps, tell of their groups, too
        if all(is_dead(other) for other in below):
            break
        time.sleep(PAUSE_SECONDS)
    kill_if(pid, lambda pid: start_time(pid) == start)


def kill_if(pid: int, is_it: Callable[[int], bool]) -> None:
    """SIGKILL to one that is not our child: `is_it` looks when the signal can not reach a later one of its number."""
    try:
        held = os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ESRCH:  # Linux before 5.3, a filter of system calls, no descriptor left
            _kill_by_number(pid, is_it)
        return
    try:
        if is_it(pid):
            signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ESRCH:
            _kill_by_number(pid, is_it)
    finally:
        os.close(held)


def _kill_by_number(pid: int, is_it: Callable[[int], bool]) -> None:
    """Where there is nothing better. 0 is a process that we can not see, and to kill(2) our own group."""
    if pid > 0 and is_it(pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_tagged(pids: Iterable[int], tag: str) -> None:
    """Those of them that have the tag still, and their groups."""
    for pid in pids:
        group = group_of(pid)
        if group not in (0, os.getpgrp()) and has_tag(pid, tag):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        kill_if(pid, lambda pid: has_tag(pid, tag))


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
    """As looked_at, for who can do without: empty, too, where we can not look."""
    with contextlib.suppress(OSError):
        return looked_at(pid)
    return []


def looked_at(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, from field 3 on; empty when it is gone. Raises OSError for MEANS."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("ascii", "replace").rpartition(")")[2].split()
    except OSError as error:
        if error.errno in MEANS:
            raise
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


def process_of(thread: int) -> int:
    """Whose thread it is; 0 when it is gone."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{thread}/status", "rb") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(b"Tgid:")), 0)
    return 0


def is_dead(pid: int) -> bool:
    """Whether it is gone, or waits to be reaped. Where we can not look, as without a descriptor, it is not."""
    try:
        fields = looked_at(pid)
    except OSError:
        return False
    return not fields or fields[0] in "ZX"


def is_exiting(pid: int) -> bool:
    """Whether a process is gone, or on its way out. Where we can not look it is not."""
    try:
        fields = looked_at(pid)
    except OSError:
        return False
    return not fields or fields[0] in "ZX" or bool(int(fields[6]) & PF_EXITING)


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def with_tag(tag: str) -> list[int]:
    """Processes in whose environment `NAME=VALUE` stands; `env -i` hides from this."""
    newest_first = sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True)
    return [pid for pid in newest_first if has_tag(pid, tag)]  # those are the ones that may be gone soon


def fleeting_with_tag(tag: str) -> list[int]:
    """One that lives only until it has forked the next is missed by a look at all; it is among the newest."""
    until = time.monotonic() + FLEETING_SECONDS
    while time.monotonic() < until:
        newest = newest_pid()
        found = [pid for pid in range(newest, max(newest - FLEETING, 1), -1) if has_tag(pid, tag)]
        if found:
            return found
    return []


def newest_pid() -> int:
    """That was given to somebody; 0 where that is not known."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[4])
    except (OSError, ValueError, IndexError):
        return 0


def has_tag(pid: int, tag: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return tag.encode() in file.read().split(b"\0")
    except OSError:
        return False

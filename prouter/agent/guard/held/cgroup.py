"""A cgroup for each job, where a version 2 tree can be written: ending all of a job is one write then, and exact.

A job whose user may write there can make groups below its own: they count, are ended and go with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from . import trees

PREFIX = "prouter-job-"
REMOVE_TRIES = 50


def parent() -> str:
    """Where groups of jobs can be made: the directory of a v2 cgroup, or empty.

    This process's own group, or the one above it when that is delegated (systemd: Delegate= and DelegateSubgroup=): it
    holds no process, so its groups can have the memory controller.
    """
    mount, own = _mount(), _own()
    if not mount or own is None:
        return ""
    path = os.path.normpath(mount + "/" + own)
    above = os.path.dirname(path)
    if path != mount and _delegated(above) and os.access(above, os.W_OK) and limits_memory(above):
        return above
    if not os.access(path, os.W_OK):
        return ""
    limits_memory(path)
    return path


def limits_memory(path: str) -> bool:
    """Whether groups below have the memory controller; it is turned on where that is possible, and with it the one for
    tasks. Alone that would do harm: the kernel turns it on beside processes, and groups below take none then."""
    if not _turned_on(path, "memory"):
        return False
    _turned_on(path, "pids")
    return True


def _turned_on(path: str, controller: str) -> bool:
    switch = f"{path}/cgroup.subtree_control"
    try:
        with open(f"{path}/cgroup.controllers", encoding="ascii") as file:
            if controller not in file.read().split():
                return False
        with open(switch, encoding="ascii") as file:
            if controller in file.read().split():
                return True
        with open(switch, "w", encoding="ascii") as file:
            file.write(f"+{controller}")
    except OSError:
        return False  # most often: there are processes in it
    return True


def make(job: str) -> str:
    """A group for a job: its path; empty where that is not possible."""
    above = parent()
    if not above:
        return ""
    path = f"{above}/{PREFIX}{job}"
    try:
        os.makedirs(path, exist_ok=True)
        if os.path.exists(f"{path}/cgroup.kill") and os.access(f"{path}/cgroup.procs", os.W_OK):
            return path
        os.rmdir(path)
    except OSError:
        pass
    return ""


def of(job: str) -> str:
    """The group that a job has, whoever made it from where we are; empty when there is none."""
    above = parent()
    path = f"{above}/{PREFIX}{job}"
    return path if above and os.path.isdir(path) else ""


def enter(path: str) -> None:
    """Put this process in. Raises OSError."""
    with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
        file.write("0")


def kill(path: str) -> None:
    """SIGKILL to all in it and below it, those that are just being forked too (version 2, Linux 5.14); one after
    another where the kernel does not."""
    try:
        with open(f"{path}/cgroup.kill", "w", encoding="ascii") as file:
            file.write("1")
    except OSError:  # version 1, or a group of threads
        for pid in pids(path):
            trees.kill_if(pid, lambda pid: pid in pids(path))


def below(path: str) -> list[str]:
    """A group and all that were made below it, parents before children; empty when it is gone."""
    return [place for place, _, _ in os.walk(path)]


def pids(path: str) -> list[int]:
    """All in it and below it."""
    return [pid for group in below(path) for pid in _pids_in(group)]


def remove(path: str) -> None:
    """With all below it, once nobody is in them; the kernel takes a moment to notice."""
    for _ in range(REMOVE_TRIES):
        for group in reversed(below(path)):
            with contextlib.suppress(OSError):
                os.rmdir(group)
        if not os.path.isdir(path):
            return
        time.sleep(0.01)


def _pids_in(group: str) -> list[int]:
    try:
        return _numbers(f"{group}/cgroup.procs")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            return []
    with contextlib.suppress(OSError):  # a group of threads, whose processes are named elsewhere or nowhere
        return list({trees.process_of(thread) for thread in _numbers(f"{group}/cgroup.threads")} - {0})
    return []


def _numbers(path: str) -> list[int]:
    """Raises OSError."""
    with open(path, encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _mount() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                if after.startswith("cgroup2 "):
                    return before.split()[4]
    except OSError:
        pass
    return ""


def _delegated(path: str) -> bool:
    """Whether systemd gave that group to us, to do with as we like."""
    try:
        return os.getxattr(path, "user.delegate") == b"1"
    except OSError:
        return False


def _own() -> str | None:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if line.startswith("0::"):
                    return line[3:].strip()
    except OSError:
        pass
    return None

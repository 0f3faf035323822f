"""A cgroup for each job, where a version 2 tree can be written: ending all of a job is one write then, and exact."""

from __future__ import annotations

import contextlib
import os
import time

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
    """Whether groups below have the memory controller; it is turned on where that is possible."""
    switch = f"{path}/cgroup.subtree_control"
    try:
        with open(f"{path}/cgroup.controllers", encoding="ascii") as file:
            if "memory" not in file.read().split():
                return False
        with open(switch, encoding="ascii") as file:
            if "memory" in file.read().split():
                return True
        with open(switch, "w", encoding="ascii") as file:
            file.write("+memory")
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
    """SIGKILL to all in it, those that are just being forked too (Linux 5.14)."""
    with contextlib.suppress(OSError), open(f"{path}/cgroup.kill", "w", encoding="ascii") as file:
        file.write("1")


def pids(path: str) -> list[int]:
    try:
        with open(f"{path}/cgroup.procs", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []


def remove(path: str) -> None:
    """Once nobody is in it; the kernel takes a moment to notice."""
    for _ in range(REMOVE_TRIES):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


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

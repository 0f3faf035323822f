"""A cgroup for each job, where a version 2 tree can be written: ending all of a job is one write then, and exact."""

from __future__ import annotations

import contextlib
import os
import time

PREFIX = "prouter-job-"
REMOVE_TRIES = 50


def parent() -> str:
    """The directory of this process's own v2 cgroup, if groups can be made in it; else empty."""
    mount, own = _mount(), _own()
    if not mount or own is None:
        return ""
    path = os.path.normpath(mount + "/" + own)
    return path if os.access(path, os.W_OK) else ""


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


def _own() -> str | None:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if line.startswith("0::"):
                    return line[3:].strip()
    except OSError:
        pass
    return None

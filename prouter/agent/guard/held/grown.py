"""Which file of a job has met its limit of size, found when the job has ended.

The kernel tells a program of it by a signal, or, where it ignores that, by a failed write: then nobody else hears of
it. What was written fits to the byte, so the file is exactly as long as the limit.

Not found is a file that is outside of the sandbox or was removed, and one that did not grow at all, as by a write far
behind its end. Nothing is followed out of the sandbox: no symlink, and nothing that is mounted there.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator

from .launch import FILES

SECONDS = 1.0
ENTRIES = 200_000
"""Whichever comes first; then it was no file that anybody knows of."""
WAITING = 4 * 1024 * 1024
"""Characters of paths of directories that are to be looked at yet; others are not. The guardian is no part of the job's
group, which bounds memory."""
MORE_SECONDS = 1.0
"""For a disk to answer; the job's end waits for none that does not."""
CLOCK_SECONDS = 0.05
"""Files have the time of the kernel's last tick."""
SHOWN = 200
"""Characters of a path."""


def file_of_size(sandbox: str, size: int, since: float) -> str:
    """A path in the sandbox of a file of that size that was written `since`, fit to be shown; empty: none is seen."""
    found: list[str] = []
    looking = threading.Thread(target=lambda: found.append(_look(sandbox, size, since)), daemon=True)
    with contextlib.suppress(RuntimeError):  # there is no thread for it
        looking.start()
        looking.join(SECONDS + MORE_SECONDS)
    return found[0] if found else ""


def _look(sandbox: str, size: int, since: float) -> str:
    until, looked, room = time.monotonic() + SECONDS, 0, WAITING
    try:
        top = os.lstat(sandbox)
    except OSError:
        return ""
    waiting = deque([""] if stat.S_ISDIR(top.st_mode) else ())
    while waiting:
        below = waiting.popleft()
        room += len(below)
        for entry in _entries(os.path.join(sandbox, below)):
            looked += 1
            if looked > ENTRIES or time.monotonic() > until:
                return ""
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # a mount whose server is gone, or it was renamed: others can be looked at
            path = os.path.join(below, entry.name)
            if stat.S_ISDIR(facts.st_mode) and facts.st_dev == top.st_dev:
                if len(path) <= room:
                    room -= len(path)
                    waiting.append(path)
                continue
            written = stat.S_ISREG(facts.st_mode) and facts.st_mtime >= since - CLOCK_SECONDS
            if written and facts.st_size == size and path not in FILES.values():
                return _shown(path)
    return ""


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    """As far as they can be read; what can not be is not named."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        yield from entries


def _shown(path: str) -> str:
    """In one line, whatever bytes are in it."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return line if len(line) <= SHOWN else f"...{line[-SHOWN:]}"

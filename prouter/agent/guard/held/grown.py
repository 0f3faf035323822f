"""Which file of a job has met its limit of size, found when the job has ended.

The kernel tells a program of it by a signal, or, where it ignores that, by a failed write: then nobody else hears of
it. What was written fits to the byte, so the file is exactly as long as the limit.

Not found is a file that is outside of the sandbox or was removed, and one that did not grow at all, as by a write far
behind its end. Nothing is followed out of the sandbox: no symlink, and nothing that is mounted there.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque

from .launch import FILES

SECONDS = 1.0
ENTRIES = 200_000
"""Whichever comes first; then it was no file that anybody knows of."""
CLOCK_SECONDS = 0.05
"""Files have the time of the kernel's last tick."""
SHOWN = 200
"""Characters of a path."""


def file_of_size(sandbox: str, size: int, since: float) -> str:
    """A path in the sandbox of a file of that size that was written `since`, fit to be shown; empty: none is seen."""
    until, looked = time.monotonic() + SECONDS, 0
    try:
        top = os.lstat(sandbox)
    except OSError:
        return ""
    waiting = deque([""] if stat.S_ISDIR(top.st_mode) else ())
    while waiting:
        below = waiting.popleft()
        try:
            with os.scandir(os.path.join(sandbox, below)) as entries:
                for entry in entries:
                    looked += 1
                    if looked > ENTRIES or time.monotonic() > until:
                        return ""
                    facts = entry.stat(follow_symlinks=False)
                    path = os.path.join(below, entry.name)
                    if stat.S_ISDIR(facts.st_mode) and facts.st_dev == top.st_dev:
                        waiting.append(path)
                        continue
                    written = stat.S_ISREG(facts.st_mode) and facts.st_mtime >= since - CLOCK_SECONDS
                    if written and facts.st_size == size and path not in FILES.values():
                        return _shown(path)
        except OSError:
            continue  # what can not be read is not named
    return ""


def _shown(path: str) -> str:
    """In one line, whatever bytes are in it."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return line if len(line) <= SHOWN else f"...{line[-SHOWN:]}"

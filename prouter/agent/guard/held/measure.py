"""How much room a directory takes on disk, walked in slices by whoever has other things to do.

Nothing leads the walk outside: directories are opened below their parents and never through a symlink. A file with
several names counts once. Files that were deleted and are still open can not be seen.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

BLOCK_BYTES = 512
MAX_DEPTH = 200
"""Each level holds a descriptor. What lies deeper counts as more than any limit, or a job could hide there."""
MAX_LINKED = 100_000
"""Files with several names that are remembered; further ones count once for each name."""
TOO_DEEP = 1 << 62
_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Measure:
    """Of the tree below `path`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._walk: Iterator[int] | None = None
        self._sum = 0

    def step(self, seconds: float) -> int | None:
        """Go on for so long: bytes on disk once a whole walk is done, None before."""
        until = time.monotonic() + seconds
        if self._walk is None:
            self._walk, self._sum = self._sizes(), 0
        for size in self._walk:
            self._sum += size
            if time.monotonic() >= until:
                return None
        self._walk = None
        return self._sum

    def _sizes(self) -> Iterator[int]:
        linked: set[tuple[int, int]] = set()
        levels: list[tuple[int, Iterator[os.DirEntry[str]]]] = []
        try:
            yield self._enter(levels, self._path, None)
            while levels:
                above, entries = levels[-1]
                entry = next(entries, None)
                if entry is None:
                    os.close(levels.pop()[0])
                    continue
                with contextlib.suppress(OSError):  # it may be gone by now
                    facts = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        yield self._enter(levels, entry.name, above)
                    elif facts.st_nlink == 1 or (key := (facts.st_dev, facts.st_ino)) not in linked:
                        if facts.st_nlink > 1 and len(linked) < MAX_LINKED:
                            linked.add(key)
                        yield facts.st_blocks * BLOCK_BYTES
        finally:
            for fd, _ in levels:
                os.close(fd)

    def _enter(self, levels: list[tuple[int, Iterator[os.DirEntry[str]]]], name: str, above: int | None) -> int:
        """What the directory itself takes; 0 for one that can not be read."""
        if len(levels) >= MAX_DEPTH:
            return TOO_DEEP
        try:
            fd = os.open(name, _OPEN, dir_fd=above)
        except OSError:
            return 0
        try:
            size = os.fstat(fd).st_blocks * BLOCK_BYTES
            levels.append((fd, os.scandir(fd)))
        except OSError:
            os.close(fd)
            return 0
        return size

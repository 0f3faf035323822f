"""How much room a directory takes on disk, walked in slices by whoever has other things to do.

Nothing leads the walk outside: directories are opened below their parents and never through a symlink, and what is
mounted in the tree is not of it. A file with several names counts once. Files that were deleted and are still open can
not be seen.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator

from .mounts import Mount, mount_of

BLOCK_BYTES = 512
MAX_DEPTH = 200
"""Each level holds a descriptor. What lies deeper counts as more than any limit, or a job could hide there."""
MAX_LINKED = 100_000
"""Files with several names that are remembered; further ones count once for each name."""
LARGE_BYTES = 1024 * 1024
"""Of a file that is so large is asked whether it is mounted there."""
TOO_DEEP = 1 << 62
BENEATH = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
"""Whether there are descriptors of directories here; without, the walk goes by paths."""
_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_LOOK = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

File = tuple[int, int]
"""Device and inode."""


class _Level:
    """A directory on the way down."""

    def __init__(self, fd: int | None, path: str, entries: os._ScandirIterator[str]) -> None:
        """A descriptor, or where there are none the path."""
        self.fd, self.path = fd, path
        self._entries = entries

    def next(self) -> os.DirEntry[str] | None:
        """None at the end, and where the disk does not tell more."""
        try:
            return next(self._entries, None)
        except OSError:
            return None

    def close(self) -> None:
        self._entries.close()
        if self.fd is not None:
            os.close(self.fd)


class Measure:
    """Of the tree below `path`."""

    def __init__(self, path: str, linked: set[File] | None = None) -> None:
        """`linked` are files with several names that were counted elsewhere; those of this tree are added. Without,
        each walk counts for itself."""
        self._path = path
        self._linked = linked
        self._walk: Iterator[int] | None = None
        self._sum = 0

    def step(self, seconds: float) -> int | None:
        """Go on for so long: bytes on disk once a whole walk is done, None before. What can not be read counts 0."""
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
        linked = set() if self._linked is None else self._linked
        levels: list[_Level] = []
        try:
            mount, size = self._enter(levels, self._path, None)
            yield size
            while levels:
                above = levels[-1]
                entry = above.next()
                if entry is None:
                    levels.pop().close()
                    continue
                with contextlib.suppress(OSError):  # it may be gone by now
                    facts = entry.stat(follow_symlinks=False)
                    if _is_directory(facts):
                        yield self._enter(levels, entry.name, above, mount)[1]
                    elif facts.st_nlink < 2 or (facts.st_dev, facts.st_ino) not in linked:
                        if facts.st_nlink > 1 and len(linked) < MAX_LINKED:
                            linked.add((facts.st_dev, facts.st_ino))
                        size = _taken(facts)
                        yield size if size < LARGE_BYTES or _is_of(mount, entry.name, above) else 0
        finally:
            for level in levels:
                level.close()

    def _enter(
        self, levels: list[_Level], name: str, above: _Level | None, mount: Mount | None = None
    ) -> tuple[Mount | None, int]:
        """Of which mount the directory is, and what it takes itself: 0 when it can not be read, or is of another."""
        if len(levels) >= MAX_DEPTH:
            return None, TOO_DEEP
        if not BENEATH:
            path = name if above is None else os.path.join(above.path, name)
            with contextlib.suppress(OSError):
                levels.append(_Level(None, path, os.scandir(path)))
            return None, 0
        try:
            fd = os.open(name, _OPEN, dir_fd=above.fd if above is not None else None)
        except OSError:
            return None, 0
        try:
            its = mount_of(fd)
            size = _taken(os.fstat(fd))
            if mount in (None, its):
                levels.append(_Level(fd, "", os.scandir(fd)))
                return its, size
        except OSError:
            pass
        os.close(fd)
        return None, 0


def _is_directory(facts: os.stat_result) -> bool:
    """And not a place that leads elsewhere, as Windows has them."""
    return stat.S_ISDIR(facts.st_mode) and not getattr(facts, "st_reparse_tag", 0)


def _is_of(mount: Mount | None, name: str, above: _Level) -> bool:
    """Whether a file is of this mount. Raises OSError."""
    if mount is None or above.fd is None or not hasattr(os, "O_PATH"):
        return True
    fd = os.open(name, _LOOK, dir_fd=above.fd)
    try:
        return mount_of(fd) == mount
    finally:
        os.close(fd)


def _taken(facts: os.stat_result) -> int:
    if sys.platform == "win32":
        return facts.st_size
    return facts.st_blocks * BLOCK_BYTES

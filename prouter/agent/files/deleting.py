"""Deleting a tree that a job made: as deep and as wide as it likes, and unwritable where it likes. Blocks.

Neither calls itself nor holds a descriptor for each level, and no path becomes longer than one name: it goes down name
by name and up again by `..`, as rm does. No link is followed, and nothing of what is mounted in the tree is touched.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prouter.agent.files.beneath import CLOEXEC, DIRECTORY, NOFOLLOW
from prouter.agent.guard.held.mounts import mount_of

BATCH = 10_000
"""Names of one directory that are looked at in one go."""
_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | CLOEXEC


def delete_tree(path: Path) -> None:
    """Whatever has this name; nothing is fine. Raises OSError when something stays, the first that could not go."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
        elif os.open in os.supports_dir_fd:
            _Deletion(path).run()
        else:
            shutil.rmtree(path)
    except FileNotFoundError:
        return


@dataclass(slots=True)
class _Level:
    """A directory on the way down."""

    name: str
    identity: tuple[int, int]
    """Device and inode: a `..` that leads elsewhere is noticed."""
    left: set[str]
    """Names in it that could not go."""


class _Deletion:
    """One run. What can not be deleted is left where it is, and all else goes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failure: OSError | None = None
        self._above: list[_Level] = []
        self._here = os.open(path.parent, _OPEN)
        """The one directory that is open."""
        self._mount = mount_of(self._here)

    def run(self) -> None:
        try:
            self._enter(self._path.name)
            self._empty()
        finally:
            os.close(self._here)
        if self._failure is not None:
            raise self._failure
        self._path.rmdir()

    def _empty(self) -> None:
        """All below the directory that is open."""
        level = _Level("", _identity(self._here), set())
        while True:
            child = self._unlink(level)
            if child is not None:
                with self._noted(level, child):
                    self._enter(child)
                    self._above.append(level)
                    level = _Level(child, _identity(self._here), set())
            elif self._above:
                name, level = level.name, self._above.pop()
                self._up(level)
                with self._noted(level, name):
                    os.rmdir(name, dir_fd=self._here)
            else:
                return

    def _unlink(self, level: _Level) -> str | None:
        """Deletes what is no directory; the name of one that is, or None when there is nothing more to do."""
        while True:
            with os.scandir(self._here) as entries:
                fresh = (entry for entry in entries if entry.name not in level.left)
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in itertools.islice(fresh, BATCH)]
            for name, is_directory in found:
                if is_directory:
                    return name
                with self._noted(level, name):
                    os.unlink(name, dir_fd=self._here)
            if not found:
                return None

    def _enter(self, name: str) -> None:
        """A directory in the one that is open; it may be read and changed from now on. Raises OSError for one on which
        something is mounted: that is somebody else's, down to its permissions."""
        above = self._here
        try:
            below = os.open(name, _OPEN | NOFOLLOW, dir_fd=above)
        except PermissionError:
            self._make_readable(name)
            below = os.open(name, _OPEN | NOFOLLOW, dir_fd=above)
        try:
            self._check_mount(below, name)
            if os.fstat(below).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                with contextlib.suppress(PermissionError):  # somebody else's: what it holds will say so
                    os.fchmod(below, stat.S_IRWXU)
        except BaseException:
            os.close(below)
            raise
        self._here = below
        os.close(above)

    def _make_readable(self, name: str) -> None:
        """Raises PermissionError again for what is no directory."""
        if not stat.S_ISDIR(os.stat(name, dir_fd=self._here, follow_symlinks=False).st_mode):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        if hasattr(os, "O_PATH"):
            found = os.open(name, DIRECTORY | NOFOLLOW, dir_fd=self._here)
            try:
                self._check_mount(found, name)
            finally:
                os.close(found)
        os.chmod(name, stat.S_IRWXU, dir_fd=self._here)

    def _check_mount(self, descriptor: int, name: str) -> None:
        if mount_of(descriptor) != self._mount:
            raise OSError(errno.EBUSY, "something is mounted there, and stays: unmount it first", name)

    def _up(self, level: _Level) -> None:
        below = self._here
        self._here = os.open("..", _OPEN, dir_fd=below)
        os.close(below)
        if _identity(self._here) != level.identity:
            raise OSError(errno.ESTALE, "a directory was moved while it was deleted", str(self._path))

    @contextlib.contextmanager
    def _noted(self, level: _Level, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            return
        except OSError as error:
            level.left.add(name)
            self._failure = self._failure or error


def _identity(descriptor: int) -> tuple[int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino

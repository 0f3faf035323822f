"""What reading and writing need of the directories of one sandbox, and how descriptors do it.

Everything here blocks and runs in threads. plain.py does the same where there are no directory descriptors.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

from prouter.agent.files.beneath import CLOEXEC, DIRECTORY, NOFOLLOW, Beneath
from prouter.errors import Conflict, FileMissing, Forbidden, Internal, InvalidRequest, NoRoom, ProuterError, Unavailable

Names = tuple[str, ...]


class Directory(Protocol):
    """A directory held open; names in it are never followed as links. All raise OSError."""

    def kind(self, name: str) -> int:
        """The st_mode of what has this name; 0 when nothing has."""

    def facts(self, name: str) -> os.stat_result: ...

    def names(self) -> Generator[str, None, None]:
        """What is in it, as it is read; closed when it is over or thrown away."""

    def create(self, name: str) -> int:
        """A descriptor of a new empty file, to write."""

    def permit(self, file: int, mode: int) -> None:
        """Set the mode of a file that `create` made."""

    def rename(self, name: str, to: str) -> None: ...

    def move(self, name: str, into: Any, to: str) -> None:
        """The same into another directory of the same tree."""

    def unlink(self, name: str) -> None: ...

    def adopt(self, source: Path, name: str) -> None:
        """Rename what is at a path of ours, outside of the sandbox, into it."""

    def hand_out(self, name: str, to: Path) -> None:
        """The other way."""

    def link_out(self, name: str, to: Path) -> None:
        """The same, and it stays here too: a second name of a file, or of a symlink itself."""

    def sync(self) -> None:
        """Make what was renamed here last."""

    def close(self) -> None: ...


class Tree(Protocol):
    """One sandbox, opened with the first thing asked of it. All raise OSError; FileMissing when the sandbox is gone."""

    def open(self, names: Names) -> int:
        """To read, links followed; never blocks, whatever it is."""

    def directory(self, names: Names) -> Directory: ...

    def make_directory(self, names: Names) -> bool:
        """False when something has this name already."""

    def remove_directory(self, names: Names) -> None:
        """An empty one."""

    def close(self) -> None:
        """Does not block."""


class DescriptorTree:
    """Implements Tree: everything beneath one descriptor."""

    def __init__(self, path: Path, beneath: Beneath) -> None:
        self._path = path
        self._beneath = beneath
        self._opening = threading.Lock()
        self._descriptor: int | None = None

    def open(self, names: Names) -> int:
        flags = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0)
        return self._beneath.open(self._root(), names, flags)

    def directory(self, names: Names) -> DescriptorDirectory:
        return DescriptorDirectory(self._beneath.open(self._root(), names, DIRECTORY))

    def make_directory(self, names: Names) -> bool:
        above = self.directory(names[:-1])
        try:
            os.mkdir(names[-1], 0o755, dir_fd=above.fd)
        except FileExistsError:
            return False
        finally:
            above.close()
        return True

    def remove_directory(self, names: Names) -> None:
        above = self.directory(names[:-1])
        try:
            os.rmdir(names[-1], dir_fd=above.fd)
        finally:
            above.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _root(self) -> int:
        with self._opening:
            if self._descriptor is None:
                try:
                    self._descriptor = os.open(self._path, DIRECTORY | NOFOLLOW)
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        raise FileMissing("the job's sandbox is gone") from None
                    raise
            return self._descriptor


class DescriptorDirectory:
    """Implements Directory."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def kind(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return 0

    def facts(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def names(self) -> Generator[str, None, None]:
        descriptor = os.open(".", os.O_RDONLY | CLOEXEC, dir_fd=self.fd)  # an O_PATH one can not be read
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    yield entry.name
        finally:
            os.close(descriptor)

    def create(self, name: str) -> int:
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC, 0o600, dir_fd=self.fd)

    def permit(self, file: int, mode: int) -> None:
        os.fchmod(file, mode)

    def rename(self, name: str, to: str) -> None:
        os.rename(name, to, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def move(self, name: str, into: DescriptorDirectory, to: str) -> None:
        os.rename(name, to, src_dir_fd=self.fd, dst_dir_fd=into.fd)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.fd)

    def adopt(self, source: Path, name: str) -> None:
        os.rename(source, name, dst_dir_fd=self.fd)

    def hand_out(self, name: str, to: Path) -> None:
        os.rename(name, to, src_dir_fd=self.fd)

    def link_out(self, name: str, to: Path) -> None:
        os.link(name, to, src_dir_fd=self.fd, follow_symlinks=False)

    def sync(self) -> None:
        """An O_PATH descriptor can not be synced, so the directory is opened anew; one that is not readable is not."""
        try:
            descriptor = os.open(".", os.O_RDONLY | CLOEXEC, dir_fd=self.fd)
        except PermissionError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        os.close(self.fd)


def explain(error: OSError, path: str) -> ProuterError:
    """What went wrong with a path, for its client."""
    code = error.errno
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return NoRoom(f"there is no room for {path!r}: {error.strerror}")
    if code == errno.ENOENT:
        return FileMissing(f"file {path!r} is not found")
    if code in (errno.EXDEV, errno.ELOOP):
        return InvalidRequest(f"Invalid request: {path!r} leads out of the sandbox, or through too many links")
    if code in (errno.ENOTDIR, errno.EEXIST):
        return Conflict(f"{path!r}: a file stands where a directory is needed")
    if code == errno.EISDIR:
        return Conflict(f"{path!r} is a directory")
    if code == errno.ENAMETOOLONG:
        return InvalidRequest(f"Invalid request: {path!r} is too long")
    if code in (errno.ENXIO, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP):
        return InvalidRequest(f"Invalid request: {path!r} is no regular file, or no name for one")
    if code in (errno.EACCES, errno.EPERM, errno.ETXTBSY):
        return Forbidden(f"{path!r}: {error.strerror}")
    if code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return Unavailable(f"the agent has no means for {path!r} now: {error.strerror}")
    return Internal(f"{path!r}: {error.strerror}")

"""Writing a file: under a temporary name beside its place, and renamed into it when all of it is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from prouter.agent.files.beneath import Beneath
from prouter.errors import Conflict, FileMissing, InvalidRequest, NoRoom, ProuterError

TEMPORARY_PREFIX = ".prouter-upload-"
WRITE_BYTES = 1024 * 1024
"""One thread hop writes so much: a hop costs as much as writing 100 KiB."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OUTSIDE = (errno.EXDEV, errno.ELOOP)

OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]


class FileUpload:
    """Implements model.services.Upload. `begin` and the underscored methods run in a thread, one at a time."""

    def __init__(
        self,
        root: int,
        beneath: Beneath,
        names: tuple[str, ...],
        executable: bool,
        expected_size: int | None,
        off_loop: OffLoop,
    ) -> None:
        self._root = root
        self._beneath = beneath
        self._names = names
        self._mode = 0o755 if executable else 0o644
        self._expected_size = expected_size
        self._off_loop = off_loop
        self._temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
        self._parent: int | None = None
        self._made: list[tuple[str, ...]] = []
        self._file: int | None = None
        self._waiting = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._committed = False
        self._busy: asyncio.Future[Any] | None = None

    @property
    def _path(self) -> str:
        return "/".join(self._names)

    def begin(self) -> None:
        """The parents and the temporary file. Raises InvalidRequest, Conflict, NoRoom."""
        try:
            self._parent, self._made = self._beneath.open_parent(self._root, self._names, make=True)
            if stat.S_ISDIR(self._kind_of_target()):
                raise Conflict(f"{self._path!r} is a directory")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
            self._file = os.open(self._temporary, flags, 0o600, dir_fd=self._parent)
        except OSError as error:
            raise explain(error, self._path) from None

    async def write(self, chunk: bytes) -> None:
        self._waiting += chunk
        if len(self._waiting) >= WRITE_BYTES:
            await self._in_thread(self._flush)

    async def commit(self) -> tuple[int, str]:
        await self._in_thread(self._finish)
        return self._size, self._digest.hexdigest()

    async def close(self) -> None:
        """Leave nothing behind that was not committed."""
        if self._busy is not None and not self._busy.done():
            await asyncio.wait((self._busy,))
        await self._off_loop(self._clean)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """The thread's work ends before its file is closed, also when we are cancelled meanwhile."""
        self._busy = asyncio.ensure_future(self._off_loop(work))
        await asyncio.shield(self._busy)

    def _flush(self) -> None:
        assert self._file is not None
        data, self._waiting = self._waiting, bytearray()
        self._digest.update(data)
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file, view)
                self._size += written
                view = view[written:]
        except OSError as error:
            raise explain(error, self._path) from None

    def _finish(self) -> None:
        self._flush()
        if self._expected_size is not None and self._size != self._expected_size:
            raise InvalidRequest(f"Invalid request: {self._size} bytes came of {self._expected_size}")
        assert self._file is not None
        assert self._parent is not None
        try:
            os.fchmod(self._file, self._mode)
            os.fsync(self._file)
            os.rename(self._temporary, self._names[-1], src_dir_fd=self._parent, dst_dir_fd=self._parent)
            self._committed = True
            sync_directory(self._parent)
        except IsADirectoryError:
            raise Conflict(f"{self._path!r} is a directory") from None
        except OSError as error:
            raise explain(error, self._path) from None

    def _clean(self) -> None:
        if self._file is not None:
            os.close(self._file)
            if not self._committed:
                with contextlib.suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._parent)
        if self._parent is not None:
            os.close(self._parent)
        if not self._committed:
            for made in reversed(self._made):
                with contextlib.suppress(OSError):  # not empty any more: somebody else uses it
                    parent, _ = self._beneath.open_parent(self._root, made, make=False)
                    try:
                        os.rmdir(made[-1], dir_fd=parent)
                    finally:
                        os.close(parent)

    def _kind_of_target(self) -> int:
        try:
            return os.stat(self._names[-1], dir_fd=self._parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return 0


def explain(error: OSError, path: str) -> ProuterError:
    """What went wrong with a path, for its client."""
    if error.errno in FULL:
        return NoRoom(f"there is no room for {path!r}: {error.strerror}")
    if error.errno == errno.ENOENT:
        return FileMissing(f"file {path!r} is not found")
    if error.errno in OUTSIDE:
        return InvalidRequest(f"Invalid request: {path!r} leads out of the sandbox, or through too many links")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return Conflict(f"{path!r}: a file stands where a directory is needed")
    if error.errno == errno.EISDIR:
        return Conflict(f"{path!r} is a directory")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidRequest(f"Invalid request: {path!r} is too long")
    return InvalidRequest(f"Invalid request: {path!r} can not be used: {error.strerror}")


def sync_directory(directory: int) -> None:
    """Make a rename last. An O_PATH descriptor can not be synced, so the directory is opened anew."""
    descriptor = os.open(".", os.O_RDONLY, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clean_leftovers(sandbox: Path) -> None:
    """Remove temporary files of uploads that a crash cut short. Blocks."""
    for directory, _, names in os.walk(sandbox, followlinks=False):
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                with contextlib.suppress(OSError):
                    Path(directory, name).unlink()

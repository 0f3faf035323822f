"""One sandbox, held open by its directory descriptor for the length of a request. Implements SandboxFiles."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prouter.agent.files.beneath import Beneath
from prouter.agent.files.paths import split
from prouter.agent.files.upload import FileUpload, explain
from prouter.errors import FileMissing, InvalidRequest
from prouter.model.services import OpenedFile, SandboxFiles, Upload

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """Implements model.services.OpenedFile."""

    fd: int
    size: int
    etag: str
    modified_at: float


class SandboxOpener:
    """Opens sandboxes. `resolution` is jobs.path_resolution; file work runs in `threads`."""

    def __init__(self, resolution: str, threads: Executor) -> None:
        self._beneath = Beneath(resolution)
        self._threads = threads

    def __call__(self, sandbox: Path) -> AbstractAsyncContextManager[SandboxFiles]:
        return self._open(sandbox)

    @asynccontextmanager
    async def _open(self, sandbox: Path) -> AsyncIterator[SandboxFiles]:
        flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            root = os.open(sandbox, flags)
        except OSError as error:
            raise FileMissing(f"the job's sandbox is gone: {error.strerror}") from None
        try:
            yield Sandbox(root, self._beneath, self._threads)
        finally:
            os.close(root)


class Sandbox:
    """Implements model.services.SandboxFiles."""

    def __init__(self, root: int, beneath: Beneath, threads: Executor) -> None:
        self._root = root
        self._beneath = beneath
        self._threads = threads

    @asynccontextmanager
    async def reading(self, path: str) -> AsyncIterator[OpenedFile]:
        names = split(path)
        opened = await self._off_loop(lambda: self._open_regular(names, path))
        try:
            yield opened
        finally:
            os.close(opened.fd)

    @asynccontextmanager
    async def writing(
        self, path: str, *, executable: bool = False, expected_size: int | None = None
    ) -> AsyncIterator[Upload]:
        names = split(path)
        upload = FileUpload(self._root, self._beneath, names, executable, expected_size, self._off_loop)
        try:
            await self._off_loop(upload.begin)
            yield upload
        finally:
            # The thread that writes now ends before its descriptor is closed, whatever happens to us.
            await asyncio.shield(upload.close())

    async def remove(self, path: str) -> None:
        names = split(path)
        await self._off_loop(lambda: self._remove(names, path))

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _open_regular(self, names: tuple[str, ...], path: str) -> Opened:
        """O_NONBLOCK: a FIFO without a writer is opened at once, and refused."""
        try:
            found = self._beneath.open(self._root, names, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0))
        except OSError as error:
            raise explain(error, path) from None
        facts = os.fstat(found)
        if not stat.S_ISREG(facts.st_mode):
            os.close(found)
            raise InvalidRequest(f"Invalid request: {path!r} is no regular file")
        etag = f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'
        return Opened(found, facts.st_size, etag, facts.st_mtime)

    def _remove(self, names: tuple[str, ...], path: str) -> None:
        try:
            parent, _ = self._beneath.open_parent(self._root, names, make=False)
            try:
                os.unlink(names[-1], dir_fd=parent)
            finally:
                os.close(parent)
        except IsADirectoryError:
            raise InvalidRequest(f"Invalid request: {path!r} is a directory") from None
        except OSError as error:
            if error.errno == errno.EPERM:
                raise InvalidRequest(f"Invalid request: {path!r} can not be removed") from None
            raise explain(error, path) from None

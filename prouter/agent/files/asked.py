"""A sandbox's files where plugins have a say in what clients write: asked here, whichever way something comes.

Belongs here: when it is asked about what (prouter_before_file_write). Does not: who is asked (jobs/hooks.py), the work
itself (sandbox.py). Not in the way of anything where nobody has a say: then nobody makes one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from prouter.agent.files.paths import split, split_directory
from prouter.agent.files.sandbox import Sandbox
from prouter.errors import Forbidden
from prouter.model.sandbox_files import (
    Condition,
    FileEntry,
    FoundEntry,
    OpenedFile,
    PartedUpload,
    PartsBounds,
    Unpacking,
    Upload,
)
from prouter.model.writes import FileWrite, WriteWay

Ask = Callable[[FileWrite], Awaitable[None]]
"""Raises Forbidden for what is refused."""


class AskedFiles:
    """Implements model.sandbox_files.SandboxFiles on another one, for the length of a request."""

    def __init__(self, files: Sandbox, ask: Ask) -> None:
        self._files = files
        self._ask = ask
        self._refused = False

    def reading(self, path: str) -> AbstractAsyncContextManager[OpenedFile]:
        return self._files.reading(path)

    @asynccontextmanager
    async def writing(
        self,
        path: str,
        *,
        executable: bool = False,
        expected_size: int | None = None,
        condition: Condition | None = None,
    ) -> AsyncIterator[Upload]:
        names = split(path)
        await self._may(names, WriteWay.FILE, expected_size)

        async def sized(size: int) -> None:
            if expected_size is None:
                await self._may(names, WriteWay.FILE, size)

        async with self._files.writing(
            path, executable=executable, expected_size=expected_size, condition=condition, complete=sized
        ) as upload:
            yield upload

    async def remove(self, path: str, *, directories: bool = False, condition: Condition | None = None) -> None:
        await self._files.remove(path, directories=directories, condition=condition)

    @asynccontextmanager
    async def unpacking(self) -> AsyncIterator[Unpacking]:
        async with self._files.unpacking() as unpacking:
            yield _AskedUnpacking(unpacking, self._may)

    @asynccontextmanager
    async def in_parts(self, path: str, total: int, bounds: PartsBounds) -> AsyncIterator[PartedUpload]:
        """What came of a file that is refused in the end is forgotten."""
        names = split(path)
        async with self._files.in_parts(path, total, bounds) as upload:
            try:
                await self._may(names, WriteWay.PART, total)
                yield upload
            except Forbidden:
                if self._refused:
                    await upload.done()
                raise

    async def list(self, path: str, choose: Callable[[Iterable[str]], Sequence[str]]) -> Sequence[FileEntry]:
        return await self._files.list(path, choose)

    def walk(self, path: str, skip: Callable[[str], bool], most: int) -> AsyncIterator[Sequence[FoundEntry]]:
        return self._files.walk(path, skip, most)

    async def make_directory(self, path: str) -> FileEntry:
        await self._may(split(path.removesuffix("/")), WriteWay.DIRECTORY, None)
        return await self._files.make_directory(path)

    async def move(self, path: str, to: str) -> FileEntry:
        await self._may(split(to), WriteWay.MOVE, None)
        return await self._files.move(path, to)

    async def _may(self, names: tuple[str, ...], way: WriteWay, size: int | None) -> None:
        try:
            await self._ask(FileWrite("/".join(names), way, size))
        except Forbidden:
            self._refused = True
            raise


class _AskedUnpacking:
    """Implements model.sandbox_files.Unpacking on another one."""

    def __init__(
        self, unpacking: Unpacking, may: Callable[[tuple[str, ...], WriteWay, int | None], Awaitable[None]]
    ) -> None:
        self._unpacking = unpacking
        self._may = may
        self._unsized: tuple[str, ...] = ()
        """The file that was begun without a size."""
        self._came = 0

    async def directory(self, path: str, mode: int) -> None:
        await self._sized()
        names = split_directory(path)
        if names:
            await self._may(names, WriteWay.DIRECTORY, None)
        await self._unpacking.directory(path, mode)

    async def file(self, path: str, mode: int, size: int | None = None) -> None:
        await self._sized()
        names = split(path)
        await self._may(names, WriteWay.ARCHIVE, size)
        if size is None:
            self._unsized, self._came = names, 0
        await self._unpacking.file(path, mode, size)

    async def write(self, data: bytes) -> None:
        self._came += len(data)
        await self._unpacking.write(data)

    async def place(self) -> None:
        await self._sized()
        await self._unpacking.place()

    async def _sized(self) -> None:
        """All of the last file has come."""
        names, self._unsized = self._unsized, ()
        if names:
            await self._may(names, WriteWay.ARCHIVE, self._came)

"""One sandbox, held open for the length of a request. Implements SandboxFiles; called by plugins through AgentJobs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from prouter.agent.files import changes
from prouter.agent.files.beneath import DIRECTORY, Beneath
from prouter.agent.files.parts import PartedFile
from prouter.agent.files.paths import split, split_directory
from prouter.agent.files.plain import PathTree
from prouter.agent.files.trees import DescriptorTree, Tree, explain
from prouter.agent.files.turns import Turn, Turns
from prouter.agent.files.unpack import StagedFiles
from prouter.agent.files.upload import Complete, FileUpload
from prouter.agent.files.walking import Walk
from prouter.errors import InvalidRequest
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

T = TypeVar("T")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Opened:
    """Implements model.sandbox_files.OpenedFile."""

    fd: int
    size: int
    etag: str
    modified_at: float


class SandboxOpener:
    """Opens sandboxes. `resolution` is jobs.path_resolution; file work runs in `threads`."""

    def __init__(self, resolution: str, threads: Executor) -> None:
        """Raises StartupError when openat2 is asked for and can not be used."""
        self._beneath = Beneath(resolution) if os.open in os.supports_dir_fd else None
        self._threads = threads
        self._turns = Turns()
        self._busy: set[Path] = set()

    def __call__(self, sandbox: Path) -> AbstractAsyncContextManager[Sandbox]:
        """The directory is opened with the first thing asked for, in the same hop: FileMissing comes from there."""
        return self._open(sandbox)

    @asynccontextmanager
    async def _open(self, sandbox: Path) -> AsyncIterator[Sandbox]:
        tree = PathTree(sandbox) if self._beneath is None else DescriptorTree(sandbox, self._beneath)
        try:
            yield Sandbox(tree, sandbox.parent, self._threads, self._turns.of(sandbox), self._busy)
        finally:
            tree.close()

    async def connect(self, sandbox: Path, path: str, made: Callable[[], asyncio.Protocol]) -> object:
        """Connect to a unix socket in a sandbox. Raises OSError: nothing there, no socket, or it leads outside."""
        async with self.socket(sandbox, path) as place:
            return await asyncio.get_running_loop().create_unix_connection(made, place)

    @asynccontextmanager
    async def socket(self, sandbox: Path, path: str) -> AsyncIterator[str]:
        """Where to connect to such a socket, within the context. Raises OSError."""
        found: list[int] = []
        try:
            await _off_loop(self._threads, lambda: found.append(self._socket(sandbox, path)))
            # the descriptor and not the path: nobody can swap it, and a socket's path has at most 108 bytes
            yield f"/proc/self/fd/{found[0]}"
        finally:
            for descriptor in found:
                os.close(descriptor)

    def connector(self, sandbox: Path, path: str) -> Callable[[], Awaitable[Stream]]:
        """The same as a stream."""

        async def connect() -> Stream:
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = cast(
                "tuple[asyncio.WriteTransport, object]", await self.connect(sandbox, path, lambda: protocol)
            )
            return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())

        return connect

    async def clear_socket(self, sandbox: Path, path: str) -> None:
        """Remove a unix socket to which nobody listens any more; what is no socket stays."""
        await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._clear_socket(sandbox, path))

    def _clear_socket(self, sandbox: Path, path: str) -> None:
        if self._beneath is None:
            return
        *above, name = split(path)
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            root = os.open(sandbox, DIRECTORY)
            held.callback(os.close, root)
            directory = self._beneath.open(root, above, DIRECTORY)
            held.callback(os.close, directory)
            if stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=directory)

    def _socket(self, sandbox: Path, path: str) -> int:
        if self._beneath is None or not hasattr(os, "O_PATH"):
            raise OSError(errno.EOPNOTSUPP, "unix sockets of jobs can not be reached safely on this system")
        root = os.open(sandbox, DIRECTORY)
        try:
            found = self._beneath.open(root, split(path), os.O_PATH | os.O_NOFOLLOW)
        finally:
            os.close(root)
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            os.close(found)
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        return found


class Sandbox:
    """Implements model.sandbox_files.SandboxFiles."""

    def __init__(self, tree: Tree, beside: Path, threads: Executor, turn: Turn, busy: set[Path]) -> None:
        self._tree = tree
        self._beside = beside
        """The job's own directory, for what is staged."""
        self._threads = threads
        self._busy = busy
        """Uploads in parts at which a request is; seen on the event loop only."""
        self._turn = turn

    @asynccontextmanager
    async def reading(self, path: str) -> AsyncIterator[OpenedFile]:
        names = split(path)
        found: list[Opened] = []
        try:
            await self._off_loop(lambda: found.append(self._open_regular(names, path)))
            yield found[0]
        finally:
            if found:  # also when cancelled while it was opened
                await self._off_loop(lambda: os.close(found[0].fd))

    @asynccontextmanager
    async def writing(
        self,
        path: str,
        *,
        executable: bool = False,
        expected_size: int | None = None,
        condition: Condition | None = None,
        complete: Complete | None = None,
    ) -> AsyncIterator[Upload]:
        """`complete` is awaited with the size when all bytes are there, before the file takes its place."""
        names = split(path)
        upload = FileUpload(
            self._tree,
            names,
            executable,
            expected_size,
            self._off_loop,
            self._in_turn,
            lambda: self._check(condition, names),
            complete,
        )
        try:
            await self._in_turn(upload.begin)
            yield upload
        finally:
            await self._turn.surely(lambda: self._off_loop(upload.clean))

    async def remove(self, path: str, *, directories: bool = False, condition: Condition | None = None) -> None:
        names = split(path)

        def work() -> None:
            self._check(condition, names)
            changes.remove(self._tree, names, path, directories=directories)

        await self._in_turn(work)

    @asynccontextmanager
    async def unpacking(self) -> AsyncIterator[Unpacking]:
        staged = StagedFiles(self._tree, self._beside, self._off_loop, self._in_turn)
        try:
            await self._off_loop(staged.begin)
            yield staged
        finally:
            await self._off_loop(staged.close)

    @asynccontextmanager
    async def in_parts(self, path: str, total: int, bounds: PartsBounds) -> AsyncIterator[PartedUpload]:
        names = split(path)
        upload = PartedFile(self._beside, "/".join(names), total, self._busy, bounds, self._off_loop)
        try:
            await upload.begin()
            yield upload
        finally:
            await upload.close()

    async def list(self, path: str, choose: Callable[[Iterable[str]], Sequence[str]]) -> Sequence[FileEntry]:
        names = split_directory(path)
        return await self._off_loop(lambda: changes.list_directory(self._tree, names, path, choose))

    async def walk(self, path: str, skip: Callable[[str], bool], most: int) -> AsyncIterator[Sequence[FoundEntry]]:
        walk = Walk(self._tree, split_directory(path), skip, most)
        while found := await self._off_loop(walk.step):
            yield found

    async def make_directory(self, path: str) -> FileEntry:
        names = split(path.removesuffix("/"))
        return await self._in_turn(lambda: changes.make_directory(self._tree, names, path))

    async def move(self, path: str, to: str) -> FileEntry:
        names, target = split(path), split(to)
        return await self._in_turn(lambda: changes.move(self._tree, names, target))

    def _check(self, condition: Condition | None, names: tuple[str, ...]) -> None:
        """In a thread and in turn, so that of two who ask the same one comes second. Raises what the condition does."""
        if condition is not None:
            condition(changes.current_etag(self._tree, names))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """In a thread, while nobody else changes this sandbox."""
        return await self._turn(lambda: self._off_loop(work))

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await _off_loop(self._threads, work)

    def _open_regular(self, names: tuple[str, ...], path: str) -> Opened:
        try:
            found = self._tree.open(names)
        except OSError as error:
            raise explain(error, path) from None
        facts = os.fstat(found)
        if not stat.S_ISREG(facts.st_mode):
            os.close(found)
            raise InvalidRequest(f"Invalid request: {path!r} is no regular file")
        return Opened(found, facts.st_size, changes.etag_of(facts), facts.st_mtime)


async def _off_loop(threads: Executor, work: Callable[[], T]) -> T:
    """In a thread. When cancelled it waits for the thread first: work on files never runs on behind our back."""
    running = asyncio.get_running_loop().run_in_executor(threads, work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    if not running.cancelled():
        running.exception()  # seen; the cancellation is what the caller gets
    raise cancelled

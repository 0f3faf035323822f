"""Writing a file: under a temporary name beside its place, and renamed into it when all of it is on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from prouter.agent.files.paths import TEMPORARY_PREFIX, is_temporary
from prouter.agent.files.trees import Directory, Names, Tree, explain
from prouter.errors import Conflict, InvalidRequest, ProuterError

WRITE_BYTES = 1024 * 1024
"""One thread hop writes so much: a hop costs as much as writing 100 KiB."""
PARENT_TRIES = 16
"""An upload beside us that failed may remove the directories that it made, between our two steps."""

OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]
Complete = Callable[[int], Awaitable[None]]
"""Told how many bytes came. Raises what the upload is refused with."""


class FileUpload:
    """Implements model.sandbox_files.Upload. `begin`, `clean` and the underscored methods run in a thread, one at a
    time.

    That holds because `off_loop` returns, also when cancelled, only after the thread is done. `begin`, `clean` and
    the step that puts the file into its place change what others see: they are called in the sandbox's turn.
    """

    def __init__(
        self,
        tree: Tree,
        names: Names,
        executable: bool,
        expected_size: int | None,
        off_loop: OffLoop,
        in_turn: OffLoop | None = None,
        check: Callable[[], None] = lambda: None,
        complete: Complete | None = None,
    ) -> None:
        """`in_turn` is `off_loop` while nobody else changes the sandbox.

        `check` is called at the beginning and before the file takes its place, both in turn; it raises what the
        upload is refused with. `complete` is awaited between the last byte and that.
        """
        self._tree = tree
        self._names = names
        self._mode = 0o755 if executable else 0o644
        self._expected_size = expected_size
        self._off_loop = off_loop
        self._in_turn = in_turn or off_loop
        self._check = check
        self._told = complete
        self._temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
        self._parent: Directory | None = None
        self._made: list[Names] = []
        """Directories that were made for this upload, the upper ones first."""
        self._file: int | None = None
        self._waiting = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._failure: ProuterError | None = None
        """Once something failed, it is not committed any more."""
        self._committed = False

    @property
    def _path(self) -> str:
        return "/".join(self._names)

    def begin(self) -> None:
        """The parents and the temporary file. Raises InvalidRequest, Conflict, Forbidden, FileMissing, NoRoom."""
        try:
            self._check()
            for _ in range(PARENT_TRIES):
                try:
                    self._parent = self._open_parent()
                    if stat.S_ISDIR(self._parent.kind(self._names[-1])):
                        raise Conflict(f"{self._path!r} is a directory")
                    self._file = self._parent.create(self._temporary)
                    return
                except FileNotFoundError:
                    self._close_parent()
        except OSError as error:
            raise explain(error, self._path) from None
        raise Conflict(f"{self._path!r}: a link that leads nowhere stands where a directory is needed, or it vanishes")

    async def write(self, chunk: bytes) -> None:
        self._waiting += chunk
        if len(self._waiting) >= WRITE_BYTES:
            await self._off_loop(self._flush)

    async def commit(self) -> tuple[int, str]:
        await self._off_loop(self._complete)
        if self._told is not None:
            await self._told(self._size)
        await self._in_turn(self._place)
        await self._off_loop(self._keep)
        return self._size, self._digest.hexdigest()

    def clean(self) -> None:
        """Leave nothing behind that was not committed."""
        self._close_file()
        if self._parent is not None and not self._committed:
            with contextlib.suppress(OSError):
                self._parent.unlink(self._temporary)
        self._close_parent()
        if not self._committed:
            for made in reversed(self._made):
                with contextlib.suppress(OSError):  # not empty any more: somebody else uses it
                    self._tree.remove_directory(made)

    def _open_parent(self) -> Directory:
        above = self._names[:-1]
        try:
            return self._tree.directory(above)
        except FileNotFoundError:
            for depth in range(1, len(above) + 1):
                if self._tree.make_directory(above[:depth]):
                    self._made.append(above[:depth])
        return self._tree.directory(above)

    def _flush(self) -> None:
        if self._failure is not None:
            raise self._failure
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
            self._failure = explain(error, self._path)
            raise self._failure from None

    def _complete(self) -> None:
        """All of it is on disk, under its temporary name."""
        self._flush()
        if self._expected_size is not None and self._size != self._expected_size:
            raise InvalidRequest(f"Invalid request: {self._size} bytes came of {self._expected_size}")
        assert self._file is not None
        assert self._parent is not None
        try:
            self._parent.permit(self._file, self._mode)
            os.fsync(self._file)
            self._close_file()
        except OSError as error:
            raise explain(error, self._path) from None

    def _place(self) -> None:
        self._check()
        assert self._parent is not None
        try:
            self._parent.rename(self._temporary, self._names[-1])
            self._committed = True
        except FileNotFoundError:
            raise Conflict(f"{self._path!r}: its directory was removed meanwhile") from None
        except OSError as error:
            raise explain(error, self._path) from None

    def _keep(self) -> None:
        """Its name is on disk, too."""
        assert self._parent is not None
        try:
            self._parent.sync()
            for made in self._made:
                self._sync_above(made)
        except FileNotFoundError:
            raise Conflict(f"{self._path!r}: its directory was removed meanwhile") from None
        except OSError as error:
            raise explain(error, self._path) from None

    def _sync_above(self, made: Names) -> None:
        above = self._tree.directory(made[:-1])
        try:
            above.sync()
        finally:
            above.close()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _close_parent(self) -> None:
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.close()


def clean_leftovers(sandbox: Path) -> None:
    """Remove temporary files of uploads that a crash cut short. Blocks. At the agent's start, for each sandbox."""
    todo = [] if sandbox.is_symlink() else [os.fspath(sandbox)]  # a job may have put a link in its place
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink()

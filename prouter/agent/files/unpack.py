"""Many files at once, all or nothing: staged beside the sandbox, then put into their places; undone when one fails.

Blocks, apart from the methods that plugins call. What is placed is renamed, so nothing appears in parts;
directories that are there are kept and filled, files are replaced, links as the last name go themselves.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from prouter.agent.files.paths import split
from prouter.agent.files.trees import Names, Tree, explain
from prouter.errors import Conflict, InvalidRequest

STAGING_PREFIX = ".unpacking-"
FLUSH_BYTES = 1024 * 1024
FLUSH_STEPS = 256
"""One thread hop writes so much."""

OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]


class StagedFiles:
    """Implements model.services.Unpacking. `close` removes whatever was not placed."""

    def __init__(self, tree: Tree, beside: Path, off_loop: OffLoop) -> None:
        self._tree = tree
        self._root = beside / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
        self._kept = Path(f"{self._root}-replaced")
        """What stood where a file was placed, until all is placed."""
        self._off_loop = off_loop
        self._steps: list[Callable[[], None]] = []
        self._waiting_bytes = 0
        self._file: int | None = None
        self._undo: list[Callable[[], None]] = []

    async def directory(self, path: str) -> None:
        names = split(path.rstrip("/"))
        await self._add(lambda: self._make_directory(names, path))

    async def file(self, path: str, mode: int) -> None:
        names = split(path)
        await self._add(lambda: self._begin_file(names, path, mode))

    async def write(self, data: bytes) -> None:
        await self._add(lambda: self._write(data), len(data))

    async def place(self) -> None:
        await self._flush()
        await self._off_loop(self._place_all)

    def close(self) -> None:
        """In a thread."""
        self._close_file()
        for leftover in (self._root, self._kept):
            shutil.rmtree(leftover, ignore_errors=True)

    async def _add(self, step: Callable[[], None], size: int = 0) -> None:
        self._steps.append(step)
        self._waiting_bytes += size
        if self._waiting_bytes >= FLUSH_BYTES or len(self._steps) >= FLUSH_STEPS:
            await self._flush()

    async def _flush(self) -> None:
        steps, self._steps, self._waiting_bytes = self._steps, [], 0

        def work() -> None:
            for step in steps:
                step()

        await self._off_loop(work)

    # --- staging ---

    def _make_directory(self, names: Names, path: str) -> None:
        try:
            self._root.joinpath(*names).mkdir(mode=0o755, parents=True, exist_ok=True)
        except FileExistsError:
            raise InvalidRequest(f"Invalid request: {path!r} is a file and a directory in the archive") from None
        except OSError as error:
            raise explain(error, path) from None

    def _begin_file(self, names: Names, path: str, mode: int) -> None:
        self._close_file()
        if len(names) > 1:
            self._make_directory(names[:-1], path)
        self._root.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        place = self._root.joinpath(*names)
        try:
            self._file = os.open(place, flags, 0o600)
            place.chmod((mode & 0o777) | stat.S_IRUSR | stat.S_IWUSR)
        except FileExistsError:
            raise InvalidRequest(f"Invalid request: {path!r} is in the archive twice") from None
        except OSError as error:
            raise explain(error, path) from None

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise explain(error, "the archive") from None

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    # --- placing ---

    def _place_all(self) -> None:
        self._close_file()
        if not self._root.is_dir():
            return
        try:
            self._kept.mkdir(mode=0o700)
            self._place(self._root, ())
        except BaseException as error:
            for undo in reversed(self._undo):
                with contextlib.suppress(OSError):
                    undo()
            if isinstance(error, OSError):
                raise explain(error, "the archive") from None
            raise

    def _place(self, staged: Path, names: Names) -> None:
        for entry in sorted(staged.iterdir()):
            here = (*names, entry.name)
            with contextlib.closing(self._tree.directory(names)) as target:
                there = target.kind(entry.name)
                if entry.is_dir() and there and not stat.S_ISLNK(there) and not stat.S_ISDIR(there):
                    raise Conflict(f"{'/'.join(here)!r}: a file stands where a directory is needed")
                if not entry.is_dir() and stat.S_ISDIR(there):
                    raise Conflict(f"{'/'.join(here)!r} is a directory")
                if not (entry.is_dir() and there):
                    self._take(entry, names, there)
            if entry.is_dir() and there:
                self._place(entry, here)

    def _take(self, entry: Path, names: Names, there: int) -> None:
        """One rename into its place, what stood there set aside, and how both are undone."""
        name, kept = entry.name, self._kept / str(len(self._undo))
        with contextlib.closing(self._tree.directory(names)) as target:
            if there:
                target.hand_out(name, kept)
                self._undo.append(lambda: self._give_back(names, kept, name))
            target.adopt(entry, name)
            self._undo.append(lambda: self._take_out(names, name, entry))

    def _give_back(self, names: Names, kept: Path, name: str) -> None:
        with contextlib.closing(self._tree.directory(names)) as target:
            target.adopt(kept, name)

    def _take_out(self, names: Names, name: str, entry: Path) -> None:
        with contextlib.closing(self._tree.directory(names)) as target:
            target.hand_out(name, entry)


def clean_staging(job_directory: Path) -> None:
    """What a crash left of archives that were being unpacked. At the agent's start."""
    for leftover in job_directory.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)

"""Many files at once, all or nothing: staged beside the sandbox, then put into their places; undone when one fails.

Blocks, apart from the methods that plugins call. What is placed is renamed, so nothing appears in parts;
directories that are there are kept and filled, files are replaced, links as the last name go themselves. All of that
is one turn of the sandbox: what is undone is never somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.files.deleting import delete_tree
from prouter.agent.files.paths import split, split_directory
from prouter.agent.files.trees import Directory, Names, Tree, explain
from prouter.errors import Conflict, FileMissing, InvalidRequest, ProuterError

STAGING_PREFIX = ".unpacking-"
FLUSH_BYTES = 1024 * 1024
FLUSH_STEPS = 256
"""One thread hop writes so much."""

NO_SECOND_NAME = frozenset((errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS))
"""Of a hard link that can not be made: the file system knows none, the file is somebody else's, or it has too many."""

OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """One rename: `name`, staged below `names`, into its place."""

    names: Names
    name: str
    replaces: bool


class StagedFiles:
    """Implements model.sandbox_files.Unpacking. `begin`, and `close`, which removes what was not placed, run in a
    thread."""

    def __init__(self, tree: Tree, beside: Path, off_loop: OffLoop, in_turn: OffLoop | None = None) -> None:
        """`in_turn` is `off_loop` while nobody else changes the sandbox."""
        self._tree = tree
        self._root = beside / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
        self._kept = Path(f"{self._root}-replaced")
        """What stood where a file was placed, until all is placed."""
        self._off_loop = off_loop
        self._in_turn = in_turn or off_loop
        self._steps: list[Callable[[], None]] = []
        self._waiting_bytes = 0
        self._file: int | None = None
        self._undo: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Makes the staging place; nothing of it is ever made again, so that a job that is removed stays removed.

        Raises FileMissing when it is by now.
        """
        try:
            self._tree.directory(()).close()
            self._root.mkdir(mode=0o700)
        except OSError as error:
            raise _explained(error, "the archive") from None

    async def directory(self, path: str, mode: int) -> None:
        names = split_directory(path)
        if names:  # the sandbox itself is there
            await self._add(lambda: self._begin_directory(names, path, mode))

    async def file(self, path: str, mode: int, size: int | None = None) -> None:
        names = split(path)
        await self._add(lambda: self._begin_file(names, path, mode))

    async def write(self, data: bytes) -> None:
        await self._add(lambda: self._write(data), len(data))

    async def place(self) -> None:
        await self._flush()
        await self._in_turn(self._place_all)

    def close(self) -> None:
        """In a thread."""
        self._close_file()
        for leftover in (self._root, self._kept):
            with contextlib.suppress(OSError):
                delete_tree(leftover)

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
            for depth in _depths(self._root, names):
                self._root.joinpath(*names[:depth]).mkdir(mode=0o755, exist_ok=True)
        except FileExistsError:
            raise InvalidRequest(f"Invalid request: {path!r} is a file and a directory in the archive") from None
        except OSError as error:
            raise _explained(error, path) from None

    def _begin_directory(self, names: Names, path: str, mode: int) -> None:
        """What follows can be put into it, whatever its mode says."""
        self._make_directory(names, path)
        try:
            self._root.joinpath(*names).chmod((mode & 0o777) | stat.S_IRWXU)
        except OSError as error:
            raise _explained(error, path) from None

    def _begin_file(self, names: Names, path: str, mode: int) -> None:
        self._close_file()
        self._make_directory(names[:-1], path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        place = self._root.joinpath(*names)
        try:
            self._file = os.open(place, flags, 0o600)
            place.chmod((mode & 0o777) | stat.S_IRUSR | stat.S_IWUSR)
        except FileExistsError:
            raise InvalidRequest(f"Invalid request: {path!r} is in the archive twice") from None
        except OSError as error:
            raise _explained(error, path) from None

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
        try:
            self._kept.mkdir(mode=0o700)
            for step in self._planned():
                self._take(step)
        except BaseException as error:
            for undo in reversed(self._undo):
                with contextlib.suppress(OSError):
                    undo()
            if isinstance(error, OSError):
                raise _explained(error, "the archive") from None
            raise

    def _planned(self) -> list[Step]:
        """All that is to be done, before any of it is: what is in the way is found while nothing has changed."""
        steps: list[Step] = []
        todo: list[Names] = [()]
        while todo:
            names = todo.pop()
            try:
                with contextlib.closing(self._tree.directory(names)) as target:
                    steps += self._planned_in(target, names, todo)
            except OSError as error:
                raise _explained(error, "/".join(names) or "the archive") from None
        return steps

    def _planned_in(self, target: Directory, names: Names, todo: list[Names]) -> list[Step]:
        """Of one staged directory; what is there already goes to `todo`."""
        steps = []
        for entry in sorted(self._root.joinpath(*names).iterdir()):
            here, there, directory = (*names, entry.name), target.kind(entry.name), entry.is_dir()
            if directory and there:
                if not stat.S_ISLNK(there) and not stat.S_ISDIR(there):
                    raise Conflict(f"{'/'.join(here)!r}: a file stands where a directory is needed")
                todo.append(here)
            elif stat.S_ISDIR(there):
                raise Conflict(f"{'/'.join(here)!r} is a directory")
            else:
                steps.append(Step(names, entry.name, bool(there)))
        return steps

    def _take(self, step: Step) -> None:
        """What stood there has a second name until all is done, so that a reader always finds the one or the other."""
        staged, kept = self._root.joinpath(*step.names, step.name), self._kept / str(len(self._undo))
        ours = staged.lstat()
        with contextlib.closing(self._tree.directory(step.names)) as target:
            replaced = step.replaces and _set_aside(target, step.name, kept)
            self._undo.append(lambda: self._put_back(step, ours, kept if replaced else None))
            target.adopt(staged, step.name)

    def _put_back(self, step: Step, ours: os.stat_result, kept: Path | None) -> None:
        """Unless the job has put something else there meanwhile."""
        with contextlib.closing(self._tree.directory(step.names)) as target:
            there = target.facts(step.name) if target.kind(step.name) else None
            placed = there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
            if kept is not None and (placed or there is None):
                target.adopt(kept, step.name)
            elif placed:
                target.hand_out(step.name, self._root.joinpath(*step.names, step.name))


def _depths(root: Path, names: Names) -> range:
    """Of the directories to make: most often all but the last one are there."""
    start = len(names) if root.joinpath(*names[:-1]).is_dir() else 1
    return range(start, len(names) + 1) if names else range(0)


def _explained(error: OSError, path: str) -> ProuterError:
    """What is missing here is the job."""
    return FileMissing("the job's sandbox is gone") if error.errno == errno.ENOENT else explain(error, path)


def _set_aside(target: Directory, name: str, kept: Path) -> bool:
    """False: it went meanwhile. Where it can not have a second name, it is missing until the next rename."""
    try:
        target.link_out(name, kept)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in NO_SECOND_NAME:
            raise
        target.hand_out(name, kept)
    return True


def clean_staging(job_directory: Path) -> None:
    """What a crash left of archives that were being unpacked. At the agent's start."""
    for leftover in job_directory.glob(f"{STAGING_PREFIX}*"):
        with contextlib.suppress(OSError):
            delete_tree(leftover)

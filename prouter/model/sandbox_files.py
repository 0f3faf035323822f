"""Files of one sandbox, as plugins of the agent reach them: read, written whole or in parts, unpacked, listed, moved.

Protocols, implemented by agent/files. Plugins import them from services.py and get them by `AgentJobs.files`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Something in a directory of a sandbox, itself and not what a symlink points to."""

    name: str
    """Surrogate escapes stand for bytes that are not UTF-8."""
    type: str
    """"file", "directory", "symlink", "other"."""
    size: int
    mode: int
    """The permission bits."""
    modified_at: float


FoundEntry = tuple[str, FileEntry]
"""A path below the directory that was walked, and what is there."""
Condition = Callable[[str | None], None]
"""Asked before a change with the ETag of what is there, None for nothing. Raises what the change is refused with."""


class OpenedFile(Protocol):
    """A regular file of a sandbox, open for reading; closed by the context that opened it."""

    @property
    def fd(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str:
        """Strong, with its quotes."""

    @property
    def modified_at(self) -> float: ...


class Upload(Protocol):
    """A file being written; it appears under its name at `commit`, whole, or not at all."""

    async def write(self, chunk: bytes) -> None:
        """Raises NoRoom."""

    async def commit(self) -> tuple[int, str]:
        """(bytes, SHA-256 in hex), once the file is on disk under its name."""


class Unpacking(Protocol):
    """Files and directories on their way into a sandbox: all of them at `place`, or none. Raises as Upload does.

    Paths are relative to the sandbox; parents are made. Raises InvalidRequest for a path that is none, or comes twice.
    """

    async def directory(self, path: str, mode: int) -> None:
        """Of the mode the permission bits count, and its owner can always use it; one that is there keeps its own."""

    async def file(self, path: str, mode: int, size: int | None = None) -> None:
        """Begins a file, ends the one before. Of the mode the permission bits count; its owner can read and write.

        `size` in bytes where the archive says it before. Raises Forbidden where plugins refuse the file.
        """

    async def write(self, data: bytes) -> None:
        """To the file that was begun last. Raises NoRoom."""

    async def place(self) -> None:
        """Raises Conflict when a file stands where a directory is needed, or the other way; nothing changed then."""


@dataclass(frozen=True, slots=True)
class PartsBounds:
    """Of the uploads in parts of one job that were begun and are not finished."""

    count: int
    age_seconds: float
    """Since the last part came; older ones are forgotten."""


class PartedUpload(Protocol):
    """The bytes of a file that came so far; what was written stays, whatever happens then."""

    @property
    def offset(self) -> int:
        """How many there are."""

    async def write(self, chunk: bytes) -> None:
        """At the end. Raises TooManyRequests for one unfinished upload too many, NoRoom."""

    async def keep(self) -> None:
        """On return all that was written is on disk."""

    def content(self) -> AsyncIterator[bytes]: ...

    async def done(self) -> None:
        """Forget the bytes."""


class SandboxFiles(Protocol):
    """Files beneath one sandbox; nothing outside can be reached, nothing runs on the event loop.

    What is written (not what is removed) is a client's: plugins are asked (prouter_before_file_write), and what one of
    them refuses raises Forbidden and leaves nothing.
    """

    def reading(self, path: str) -> AbstractAsyncContextManager[OpenedFile]:
        """Raises FileMissing, InvalidRequest (not a regular file, a path that leaves the sandbox)."""

    def writing(
        self,
        path: str,
        *,
        executable: bool = False,
        expected_size: int | None = None,
        condition: Condition | None = None,
    ) -> AbstractAsyncContextManager[Upload]:
        """Left without a commit, nothing remains. Raises InvalidRequest, Conflict (a directory), NoRoom.

        The condition is asked at the beginning and again when the file takes its place.
        """

    async def remove(self, path: str, *, directories: bool = False, condition: Condition | None = None) -> None:
        """A file, or a symlink itself; with `directories` an empty directory too.

        Raises FileMissing, InvalidRequest (a directory), Conflict (one that is not empty).
        """

    def unpacking(self) -> AbstractAsyncContextManager[Unpacking]:
        """Left without `place`, nothing remains."""

    def in_parts(self, path: str, total: int, bounds: PartsBounds) -> AbstractAsyncContextManager[PartedUpload]:
        """An upload of so many bytes to `path` that was begun, or a new one; kept outside the sandbox.

        Raises InvalidRequest, Conflict with `offset` while another request is at it.
        """

    async def list(self, path: str, choose: Callable[[Iterable[str]], Sequence[str]]) -> Sequence[FileEntry]:
        """What is in a directory ("": the sandbox itself): those of its names that `choose`, in a thread, picks.

        Raises FileMissing, Conflict (no directory), TooLarge, and what `choose` raises.
        """

    def walk(self, path: str, skip: Callable[[str], bool], most: int) -> AsyncIterator[Sequence[FoundEntry]]:
        """All regular files and directories below a directory, some at a time: each directory before what is in it,
        sorted within. Directories that `skip` names by their path below `path` are told of and not entered.

        Raises FileMissing, Conflict (no directory), TooLarge: more than `most` names on the way, or directories
        deeper than paths can say.
        """

    async def make_directory(self, path: str) -> FileEntry:
        """With those above it. Raises Conflict when something is there already."""

    async def move(self, path: str, to: str) -> FileEntry:
        """In one step, the directories above `to` made; a file may take the place of a file.

        Raises FileMissing, Conflict (a directory is in the way, or is to take a file's place), InvalidRequest.
        """

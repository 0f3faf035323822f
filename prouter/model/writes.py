"""What is asked before something is written into a sandbox from outside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WriteWay(StrEnum):
    FILE = "file"
    PART = "part"
    """A piece of an upload in parts; `size_bytes` is that of the whole file. Once all are there it is a FILE."""
    ARCHIVE = "archive"
    """One file of an archive."""
    DIRECTORY = "directory"
    MOVE = "move"
    """Something of the sandbox gets this path."""


@dataclass(frozen=True, slots=True)
class FileWrite:
    """One path of a sandbox that is about to be written by a client. What the job itself writes is not asked about."""

    path: str
    """Relative to the sandbox, as the client wrote it: links are not followed. Surrogate escapes stand for bytes that
    are not UTF-8."""
    way: WriteWay
    size_bytes: int | None
    """None for directories and moves, and where the client does not say it before: then it is asked again with the size
    once all bytes are there, before the file takes its place."""

"""How a job's output lies on disk: segment files of framed records, read by the agent, written by spool.py.

A segment's name tells where it begins: the offset in the whole output and in each stream, all counted from the job's
first byte, which never restart. So a segment that is gone, or bytes that found no room, are a gap between the end of
one segment and the beginning of the next, and nothing else has to be kept. A record is a header and its data; the last
one of a segment may be torn when its writer was killed, and counts as not written.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

DIRECTORY = "output"
"""In the job's own directory."""
STDOUT, STDERR = 1, 2
HEADER = struct.Struct("<4sBxxxI")
"""Magic, stream, length."""
MAGIC = b"out1"
SUFFIX = ".seg"


class Offsets(NamedTuple):
    """A place in the output, or a number of bytes of each stream."""

    stdout: int = 0
    stderr: int = 0

    @property
    def whole(self) -> int:
        return self.stdout + self.stderr

    def of(self, stream: int | None) -> int:
        """In the view of one stream; None is the whole."""
        return self.whole if stream is None else self[stream - 1]

    def plus(self, stream: int, count: int) -> Offsets:
        return Offsets(self.stdout + count, self.stderr) if stream == STDOUT else Offsets(self[0], self[1] + count)


def segment_name(start: Offsets) -> str:
    """Sorted by name, segments are in their order."""
    return f"{start.whole:016x}-{start.stdout:016x}-{start.stderr:016x}{SUFFIX}"


def segment_start(name: str) -> Offsets | None:
    """None for a name that is no segment's."""
    parts = name.removesuffix(SUFFIX).split("-")
    try:
        whole, stdout, stderr = (int(part, 16) for part in parts)
    except ValueError:
        return None
    start = Offsets(stdout, stderr)
    return start if name == segment_name(start) and whole == start.whole else None


def segments(directory: str) -> list[tuple[Offsets, str]]:
    """All segments, oldest first: where each begins, and its name. Raises OSError."""
    found = [(start, name) for name in os.listdir(directory) if (start := segment_start(name)) is not None]
    return sorted(found, key=lambda segment: segment[1])


def records(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """(stream, begin, end) of each whole record's data in `data`, which begins with a header; stops at what is none."""
    at, size = 0, len(data)
    while at + HEADER.size <= size:
        magic, stream, length = HEADER.unpack_from(data, at)
        begin = at + HEADER.size
        at = begin + length
        if magic != MAGIC or stream not in (STDOUT, STDERR) or at > size:
            return
        yield stream, begin, at

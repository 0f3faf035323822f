"""One reader's place in a spool. Everything here blocks and is called off the event loop, by jobs/output.py.

Nothing is held open between two calls: segments can be dropped under a reader that does not read, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from prouter.agent.guard.held.segments import DIRECTORY, HEADER, STDERR, STDOUT, Offsets, records, segments
from prouter.agent.guard.held.spool import SEGMENT_BYTES
from prouter.model.output import OutputPiece, OutputStream

BLOCK_BYTES = 256 * 1024
"""Read at once, and about as much is handed out by one call."""
SCAN_BYTES = 4 * 1024 * 1024
"""The most that one call walks through, so that other work gets its turn."""
NUMBERS = {OutputStream.STDOUT: STDOUT, OutputStream.STDERR: STDERR}
NOTHING = memoryview(b"")
STREAMS = {number: stream for stream, number in NUMBERS.items()}


class Batch(NamedTuple):
    """What one call found. Without pieces and `more`, that is all there is for now."""

    pieces: list[OutputPiece]
    more: bool = False


def output_ends(job_directory: Path) -> Mapping[OutputStream | None, int]:
    """The offset behind the newest byte of each view."""
    return {stream: SpoolReader(job_directory, stream).end() for stream in (None, *OutputStream)}


class _Place(NamedTuple):
    """A record's beginning: in which segment, where in its file, and at which offset of the view."""

    name: str
    at: int
    offset: int


class SpoolReader:
    """Reads a view: one stream, or both together in the order in which they were read."""

    def __init__(self, job_directory: Path, stream: OutputStream | None) -> None:
        self._directory = job_directory / DIRECTORY
        self._stream = NUMBERS[stream] if stream is not None else None
        self._place = _Place("", 0, 0)
        """Where the last call stopped: the next one usually goes on there."""

    def read(self, offset: int) -> Batch:
        """Some of what is there from `offset` on, or the gap that begins there."""
        found = self._segments()
        before = [segment for segment in found if segment[0].of(self._stream) <= offset]
        following = found[len(before)][0].of(self._stream) if len(found) > len(before) else None
        if before:
            start, name = before[-1]
            batch = self._records(name, start, offset)
            if batch.pieces or batch.more or following is None:
                return batch
        elif following is None:
            return Batch([])
        # a segment is whole once another follows: what lies between them was dropped
        return Batch([OutputPiece(offset, None, dropped_bytes=following - offset)])

    def end(self) -> int:
        """The offset behind the newest byte."""
        found = self._segments()
        if not found:
            return 0
        start, name = found[-1]
        whole = start
        for stream, begin, end in records(self._content(name, 0, SEGMENT_BYTES) or NOTHING):
            whole = whole.plus(stream, end - begin)
        return whole.of(self._stream)

    def streams_at(self, offset: int) -> dict[OutputStream, int] | None:
        """Of the view of both: where each stream is at that offset. None: that was dropped."""
        found = [segment for segment in self._segments() if segment[0].whole <= offset]
        if not found:
            return None
        at, name = found[-1]
        for stream, begin, end in records(self._content(name, 0, SEGMENT_BYTES) or NOTHING):
            at = at.plus(stream, min(end - begin, offset - at.whole))
            if at.whole == offset:
                break
        return {stream: at.of(number) for stream, number in NUMBERS.items()} if at.whole == offset else None

    def tail(self, lines: int) -> int:
        """The offset where the last lines begin; 0 when there are no more. An unfinished line counts as one."""
        if lines == 0:
            return self.end()
        missing = lines
        newest = True
        for start, name in reversed(self._segments()):
            content = self._content(name, 0, SEGMENT_BYTES)
            if content is None:
                break
            for offset, part in reversed(list(self._parts(start, content))):
                stop = len(part) - (newest and part.endswith(b"\n"))
                newest = newest and not part
                count = part.count(b"\n", 0, stop)
                if count < missing:
                    missing -= count
                    continue
                for _ in range(missing):
                    stop = part.rfind(b"\n", 0, stop)
                return offset + stop + 1
        return 0

    # --- its parts ---

    def _segments(self) -> list[tuple[Offsets, str]]:
        try:
            return segments(str(self._directory))
        except FileNotFoundError:
            return []  # nothing was written yet, or the job was removed

    def _records(self, name: str, start: Offsets, offset: int) -> Batch:
        """Of one segment."""
        place = self._place
        if place.name != name or place.offset > offset:
            place = _Place(name, 0, start.of(self._stream))
        pieces: list[OutputPiece] = []
        walked = 0
        while not pieces:
            content = self._block(name, place.at)
            if content is None or walked >= SCAN_BYTES:
                return Batch([], more=True)  # it was dropped this very moment: look again
            before = place
            for stream, begin, end in records(content):
                first, after = place.offset, place.offset
                if self._stream is None or stream == self._stream:
                    after += end - begin
                    if after > offset:
                        data = bytes(content[begin + max(0, offset - first) : end])
                        pieces.append(OutputPiece(after - len(data), STREAMS[stream], data))
                place = _Place(name, before.at + end, after)
            self._place = place
            walked += place.at - before.at
            if place == before:
                break
        return Batch(pieces)

    def _parts(self, start: Offsets, content: memoryview) -> Iterator[tuple[int, bytes]]:
        """(offset, data) of the view's records."""
        offset = start.of(self._stream)
        for stream, begin, end in records(content):
            if self._stream is None or stream == self._stream:
                yield offset, bytes(content[begin:end])
                offset += end - begin

    def _block(self, name: str, at: int) -> memoryview | None:
        """With one whole record at least, if it is there."""
        content = self._content(name, at, BLOCK_BYTES)
        if content is not None and len(content) == BLOCK_BYTES:
            needed = HEADER.size + HEADER.unpack_from(content)[2]
            if needed > BLOCK_BYTES:
                return self._content(name, at, needed)
        return content

    def _content(self, name: str, at: int, size: int) -> memoryview | None:
        """None: the segment is not there any more."""
        try:
            with (self._directory / name).open("rb", buffering=0) as file:
                file.seek(at)
                return memoryview(file.read(size) or b"")
        except FileNotFoundError:
            return None

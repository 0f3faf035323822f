"""Where the lines of one stream begin and end on disk, around the bytes that somebody reads. Everything here blocks.

For output that plugins change (jobs/changed_output.py): they are given whole lines, wherever a reader begins.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from prouter.agent.output.reader import SpoolReader
from prouter.model.output import OutputStream


class Before(NamedTuple):
    """What stands in front of a place in its line."""

    data: bytes
    """At most as much as is looked at."""
    lost_at: int | None = None
    """Where what is kept of the line begins, when its beginning was dropped: nobody can tell what it belongs to."""


class LineReader:
    """Of one stream of one job. `most` bytes are looked at before and after a place; longer lines are cut."""

    def __init__(self, job_directory: Path, stream: OutputStream, most: int) -> None:
        self._directory = job_directory
        self._stream = stream
        self._most = most
        self._ahead = SpoolReader(job_directory, stream)
        """Goes forward only, so that its place is found at once."""

    def before(self, offset: int) -> Before:
        """The line up to there; empty at its beginning."""
        start = max(0, offset - self._most)
        data, lost_at = b"", None
        reader, at = SpoolReader(self._directory, self._stream), start
        while at < offset:
            batch = reader.read(at)
            for piece in batch.pieces:
                at = piece.after
                if piece.stream is None:
                    data, lost_at = b"", piece.after
                else:
                    data += piece.data
            if not batch.pieces and not batch.more:
                return Before(b"", offset)  # dropped just now
        data = data[: len(data) - (at - offset)] if at > offset else data
        begins = data.rfind(b"\n") + 1
        if begins or lost_at is None:
            return Before(data[begins:])
        return Before(data, lost_at)

    def after(self, offset: int) -> tuple[bytes, bool]:
        """The rest of the line from there on, and whether that is all of it that will ever be given."""
        data, at = b"", offset
        while len(data) < self._most:
            batch = self._ahead.read(at)
            for piece in batch.pieces:
                if piece.stream is None:
                    return data, True  # its end was dropped
                ends = piece.data.find(b"\n") + 1
                if ends:
                    return (data + piece.data[:ends])[: self._most], True
                data, at = data + piece.data, piece.after
                if len(data) >= self._most:
                    break
            if not batch.pieces and not batch.more:
                return data, False
        return data[: self._most], True

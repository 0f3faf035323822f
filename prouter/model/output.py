"""A job's output as its readers get it: pieces with their offsets. How it lies on disk is the agent's affair."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OutputStream(StrEnum):
    """One of a job's two streams."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Bytes of one stream, in the order in which they were read; or a gap, where bytes were dropped.

    Offsets count the bytes of the view that is read (one stream, or both together) from the job's first byte, what was
    dropped included. They never restart, also not when the job is started again.
    """

    offset: int
    stream: OutputStream | None
    """None: a gap."""
    data: bytes = b""
    dropped_bytes: int = 0

    @property
    def after(self) -> int:
        """The offset behind it: where to go on."""
        return self.offset + len(self.data) + self.dropped_bytes

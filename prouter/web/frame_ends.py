"""Where a Websocket's frames end, for who must know whether a frame of his own may follow (RFC 6455 5.2).

Pure. Nothing of a frame is kept or judged but its length: what passes a tunnel is nobody's business.
"""

from __future__ import annotations

GOING_AWAY = b"\x88\x02\x03\xe9"
"""A server's close frame with the code 1001."""
SMALL = 126
"""A payload of less than this has a head of two bytes."""
MOST_AT_ONCE = 512
"""Frames that are walked over in one piece of data: with more the walk would hold everybody up."""


class FrameEnds:
    """Of one direction, from its first byte on."""

    __slots__ = ("_left", "_part")

    def __init__(self) -> None:
        self._left = 0
        """Bytes of the last frame that are still to come; -1: it is not known any more."""
        self._part = b""
        """A frame's head, as far as it came."""

    @property
    def between(self) -> bool:
        """Whether the last frame has ended, and no other one begun."""
        return not (self._left or self._part)

    def feed(self, data: bytes) -> None:
        size, left = len(data), self._left
        if left == 0 and 1 < size < SMALL and data[1] == size - 2 and not self._part:
            return  # a small frame alone, as most are
        if left > size:
            self._left -= size
        elif left >= 0:
            self._walk(data)

    def _walk(self, data: bytes) -> None:
        data, at = self._part + data, self._left
        for _ in range(MOST_AT_ONCE):
            if at >= len(data):
                self._left, self._part = at - len(data), b""
                return
            end = _end(data, at)
            if end is None:
                self._left, self._part = 0, data[at:]
                return
            at = end
        self._left, self._part = -1, b""


def _end(data: bytes, at: int) -> int | None:
    """Where the frame ends that begins there; None: that is not there to read yet."""
    if at + 2 > len(data):
        return None
    length = data[at + 1] & 0x7F
    payload_at = at + (6 if data[at + 1] & 0x80 else 2)
    if length >= SMALL:
        digits = 2 if length == SMALL else 8
        if at + 2 + digits > len(data):
            return None
        length = int.from_bytes(data[at + 2 : at + 2 + digits])
        payload_at += digits
    return payload_at + length

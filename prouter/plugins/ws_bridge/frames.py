"""Websocket frames from one server to another: towards each we are the client, and a client masks (RFC 6455 5.3).

Pure: bytes in, bytes out, at any split. Everything else passes as it came: fragments, pings, close codes, any size.
"""

from __future__ import annotations

import os
from collections.abc import Callable

MASKED = 0x80
KEY_BYTES = 4


class BadFrame(ValueError):
    """What came is no frame that a server may send."""


class Masker:
    """Frames of a server made those of a client. `new_key` gives four random bytes for each frame."""

    def __init__(self, new_key: Callable[[], bytes] = lambda: os.urandom(KEY_BYTES)) -> None:
        self._new_key = new_key
        self._head = b""
        self._left = 0
        """Bytes of the present frame's payload that are still to come."""
        self._key = b""
        """As it is to be applied to the next byte of the payload."""

    @property
    def amid(self) -> bool:
        """Whether an end here would cut a frame."""
        return bool(self._head) or self._left > 0

    def feed(self, data: bytes) -> bytes:
        """What to send on. Raises BadFrame."""
        parts = []
        while data:
            if not self._left:
                self._head += data
                parsed = _parse(self._head)
                if parsed is None:
                    break
                length, used = parsed
                self._key = self._new_key()
                parts.append(bytes((self._head[0], self._head[1] | MASKED)) + self._head[2:used] + self._key)
                data, self._head, self._left = self._head[used:], b"", length
                continue
            piece, data = data[: self._left], data[self._left :]
            parts.append(self._mask(piece))
            self._left -= len(piece)
        return b"".join(parts)

    def _mask(self, piece: bytes) -> bytes:
        count = len(piece)
        repeated = (self._key * (count // KEY_BYTES + 1))[:count]
        masked = int.from_bytes(piece, "little") ^ int.from_bytes(repeated, "little")
        turn = count % KEY_BYTES
        self._key = self._key[turn:] + self._key[:turn]
        return masked.to_bytes(count, "little")


def _parse(head: bytes) -> tuple[int, int] | None:
    """(payload's length, head's length), once the head is whole (RFC 6455 5.2). Raises BadFrame."""
    if len(head) < 2:
        return None
    if head[1] & MASKED:
        raise BadFrame("a server's frame must not be masked")
    length = head[1]
    used = 2 + {126: 2, 127: 8}.get(length, 0)
    if len(head) < used:
        return None
    if used > 2:
        length = int.from_bytes(head[2:used], "big")
    if length >= 1 << 63:
        raise BadFrame("a frame's length is out of range")
    return length, used

"""Websocket frames to bytes and back (RFC 6455 5). Pure, at any split, and nothing is done byte by byte.

What a frame carries is passed on as it comes, so that no frame is ever held: its size is bounded all the same.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from prouter.errors import RemoteProtocolError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Of one that comes; whatever passes frames on may make larger ones of ours."""
MAX_CONTROL_BYTES = 125
SENT_BYTES = 65536
"""Of a frame of ours; a longer write is several."""
_FINAL, _MASKED, _RESERVED = 0x80, 0x80, 0x70
_KEY = 4
_LONGEST = 14 + MAX_CONTROL_BYTES
"""A frame's head, and a control frame with it."""
_FEW = 512
"""Bytes up to which one long number is faster than four strides."""
_XOR = tuple(bytes(byte ^ key for byte in range(256)) for key in range(256))

Frame = tuple[int, bytes]
"""BINARY: some bytes of a message. CLOSE, PING or PONG: the whole of it."""


def mask(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Every byte with the key's next one, exclusive or (RFC 6455 5.3); the same takes it off again."""
    count = len(data)
    if count <= _FEW:
        long_key = (key * (count // _KEY + 1))[:count]
        return (int.from_bytes(data, "little") ^ int.from_bytes(long_key, "little")).to_bytes(count, "little")
    masked = bytearray(data)
    for place in range(_KEY):
        masked[place::_KEY] = masked[place::_KEY].translate(_XOR[key[place]])
    return bytes(masked)


class FrameWriter:
    """Frames of one side. `masks`: it is the client's."""

    def __init__(self, *, masks: bool) -> None:
        self._masks = masks

    def frames(self, data: bytes | bytearray | memoryview) -> bytes:
        """Bytes of the stream as one binary message or more."""
        if len(data) <= SENT_BYTES:
            return self.frame(BINARY, data)
        view = memoryview(data)
        starts = range(0, len(view), SENT_BYTES)
        return b"".join(self.frame(BINARY, view[start : start + SENT_BYTES]) for start in starts)

    def frame(self, kind: int, payload: bytes | bytearray | memoryview) -> bytes:
        count, masked = len(payload), _MASKED if self._masks else 0
        if count < 126:
            head = bytes((_FINAL | kind, masked | count))
        elif count < 65536:
            head = struct.pack("!BBH", _FINAL | kind, masked | 126, count)
        else:
            head = struct.pack("!BBQ", _FINAL | kind, masked | 127, count)
        if not self._masks:
            return head + payload
        key = os.urandom(_KEY)
        return b"".join((head, key, mask(payload, key)))


class FrameReader:
    """Frames of the other side. `masked`: it is the client's, and must mask; a server must not."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._head = b""
        """What came of the next frame, until its head is whole and, for a control frame, all of it."""
        self._left = 0
        """Bytes of a binary frame that are still to come."""
        self._key = b""
        """Of this frame, as it fits the next byte."""
        self._amid = False
        """A message has begun and its last frame has not."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """What came whole. Raises RemoteProtocolError for what no peer of ours sends."""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                piece = data if at == 0 and end <= self._left else data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield BINARY, self._unmasked(piece)
                continue
            begun_at = at - len(self._head)
            rest = self._head + data[at : at + _LONGEST]
            kind, length, used = self._parse(rest)
            if used == 0 or (kind >= CLOSE and len(rest) < used + length):
                self._head = rest
                return
            at = begun_at + used
            self._head = b""
            self._key = rest[used - _KEY : used] if self._masked else b""
            if kind >= CLOSE:
                at += length
                yield kind, self._unmasked(rest[used : used + length])
            else:
                self._left = length

    def _parse(self, rest: bytes) -> tuple[int, int, int]:
        """Kind, the payload's length, and the head's, which is 0 while it is not whole."""
        if len(rest) < 2:
            return BINARY, 0, 0
        kind, length = rest[0] & 0x0F, rest[1] & 0x7F
        used = 2 + {126: 2, 127: 8}.get(length, 0) + (_KEY if self._masked else 0)
        self._check(rest[0], kind, length, bool(rest[1] & _MASKED))
        if len(rest) < used:
            return kind, 0, 0
        if length > MAX_CONTROL_BYTES:
            length = int.from_bytes(rest[2 : 4 if length == 126 else 10], "big")
        if length > MAX_FRAME_BYTES:
            raise RemoteProtocolError(f"a websocket frame of {length} bytes came")
        if kind < CLOSE:
            self._amid = not rest[0] & _FINAL
        return kind, length, used

    def _check(self, first: int, kind: int, length: int, masked: bool) -> None:
        if first & _RESERVED or masked != self._masked:
            raise RemoteProtocolError("a websocket frame with wrong bits came")
        if kind >= CLOSE:
            sound = kind in (CLOSE, PING, PONG) and length <= MAX_CONTROL_BYTES and bool(first & _FINAL)
        else:
            sound = kind == (CONTINUATION if self._amid else BINARY)
        if not sound:
            raise RemoteProtocolError("a websocket frame of a kind came that no pipe has")

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._masked:
            return piece
        clear = mask(piece, self._key)
        turn = len(piece) % _KEY
        self._key = self._key[turn:] + self._key[:turn]
        return clear

"""Answers in frames: how an agent's half tells a router's how far an answer has come, so that it can be asked to go on.

An answer that follows something is cut when the way to the agent is. In frames, each piece of its body says behind
which place of what is followed it ends; who relays it takes the frames off, and asks again from the last place when the
answer is cut (plugin.Relay.resume). Pure: bytes in, frames out.

    8 bytes  the place behind this frame, big endian
    4 bytes  how many bytes follow
    ...      those bytes of the body

In place of the number, 2**32 - 1: what is followed can not be read on, and to ask again is of no use.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from prouter.errors import RemoteProtocolError

FRAMES_HEADER = "X-Prouter-Frames"
"""In the request: frames are understood. In the answer: it is in frames, and begins at this place."""
MAX_FRAME_BYTES = 8 * 1024 * 1024
_HEAD = struct.Struct(">QI")
_FAILED = 2**32 - 1
FAILURE = _HEAD.pack(0, _FAILED)
"""The last frame of an answer that its maker breaks off."""


def frame(after: int, data: bytes) -> bytes:
    """One piece of the body, and the place behind it."""
    return _HEAD.pack(after, len(data)) + data


class FrameReader:
    """Takes the frames of one answer apart."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def amid(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(place behind it, bytes) of each frame that is whole now. Raises RemoteProtocolError."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            after, size = _HEAD.unpack_from(self._buffer)
            if size == _FAILED:
                raise RemoteProtocolError("the agent can not read on what was followed")
            if size > MAX_FRAME_BYTES:
                raise RemoteProtocolError(f"an answer in frames has one of {size} bytes")
            end = _HEAD.size + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield after, body

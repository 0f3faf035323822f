"""Answers in frames: how an agent's half tells a router's how far an answer has come, so that it can be asked to go on.

An answer that follows something is cut when the way to the agent is. In frames, each piece of its body says behind
which place of what is followed it ends; who relays it takes the frames off, and asks again from the last place when the
answer is cut (plugin.Relay.resume). Pure: bytes in, frames out.

    8 bytes  the place behind this frame, big endian; its highest bit is set in the last frame of a whole answer
    4 bytes  how many bytes follow
    ...      those bytes of the body

In place of the number, 2**32 - 1: what is followed can not be read on, and to ask again is of no use.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from prouter.errors import RemoteProtocolError

FRAMES_HEADER = "X-Prouter-Frames"
"""In the request: frames are understood (UNDERSTOOD). In the answer: it is in frames, and begins at this place."""
UNDERSTOOD = "2"
"""By the version before, "1", which knew no last frame."""
FOLLOWED_HEADER = "X-Prouter-Followed"
"""In the answer: what exactly is followed, in words of its maker, where it could be followed by something else at the
same place (another run of the job). In the request by which the answer is to go on: the same words."""
LAST = 1 << 63
MAX_FRAME_BYTES = 8 * 1024 * 1024
_HEAD = struct.Struct(">QI")
_FAILED = 2**32 - 1
FAILURE = _HEAD.pack(0, _FAILED)
"""The last frame of an answer that its maker breaks off."""


def frame(after: int, data: bytes, *, last: bool = False) -> bytes:
    """One piece of the body, and the place behind it. Behind the `last` one nothing is asked for any more."""
    return _HEAD.pack(after | LAST if last else after, len(data)) + data


class FrameReader:
    """Takes the frames of one answer apart."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.whole = False
        """The last frame came: what is missing of the answer says nothing."""

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
            self.whole = self.whole or after >= LAST
            yield after & ~LAST, body

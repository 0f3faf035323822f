"""Where a body ends (RFC 9112 6.3), and a machine that watches it pass without touching a byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from prouter.http1.fields import LINES, TOKEN, names_in
from prouter.model.http import RequestHead, ResponseHead

CHUNK_LINE_BYTES = 4096
"""A chunk's size line with its extensions; Go's net/http allows 4096."""
TRAILER_BYTES = 16384
"""All trailers of a body together."""
_QUOTED = r"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\""
_CHUNK = re.compile(rf"([0-9A-Fa-f]{{1,15}})(?:;{TOKEN}(?:=(?:{TOKEN}|{_QUOTED}))?)*".encode("latin-1"))
"""RFC 9112 7.1.1. An open quote for instance: some look for its end in the next lines, where the chunk's bytes are."""
_BWS = r"[ \t]*"
_PADDED_CHUNK = re.compile(
    rf"([0-9A-Fa-f]{{1,15}})(?:{_BWS};{_BWS}{TOKEN}(?:{_BWS}={_BWS}(?:{TOKEN}|{_QUOTED}))?)*{_BWS}".encode("latin-1")
)
"""With the spaces that old servers put around everything; in a request several servers refuse them, aiohttp is one."""
_FRAMING_NAMES = re.compile(r"(?im)^(?:content-length|transfer-encoding|host|trailer|te|connection|upgrade):")


class BodyKind(Enum):
    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    TUNNEL = auto()
    """Behind a 101: opaque bytes both ways."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How a body ends."""

    kind: BodyKind
    length: int = 0

    @property
    def empty(self) -> bool:
        return self.kind is BodyKind.NONE


NO_BODY = Framing(BodyKind.NONE)
CHUNKED = Framing(BodyKind.CHUNKED)


def request_framing(head: RequestHead) -> Framing:
    """Of a request that the parser took."""
    if head.get("transfer-encoding") is not None:
        return CHUNKED
    length = int(head.get("content-length") or 0)
    return Framing(BodyKind.LENGTH, length) if length else NO_BODY


def response_framing(head: ResponseHead, request_method: str) -> Framing:
    """Of an answer that the parser took, to a request with that method."""
    if head.status == 101:
        return Framing(BodyKind.TUNNEL)
    if request_method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return NO_BODY
    if head.get("transfer-encoding") is not None:
        return CHUNKED
    length = head.get("content-length")
    if length is None:
        return Framing(BodyKind.UNTIL_CLOSE)
    return Framing(BodyKind.LENGTH, int(length)) if int(length) else NO_BODY


def wants_close(head: RequestHead | ResponseHead) -> bool:
    """Whether the sender of this head closes the connection after the exchange (RFC 9112 9.3)."""
    if head.get("connection") is None:
        return head.version == "1.0"
    tokens = names_in(head.all("connection"))
    return "close" in tokens or (head.version == "1.0" and "keep-alive" not in tokens)


class BadBody(ValueError):
    """A chunked body that is none."""


class BodyWatch:
    """Is fed the bytes behind a head and says how many of them belong to the body.

    What is always true: the bytes that `feed` counted, in order, are the body as it was sent; nothing behind its end is
    counted; a split of the input anywhere gives the same.
    """

    def __init__(self, framing: Framing, *, padded: bool = False) -> None:
        """`padded`: spaces around the sizes of chunks are taken."""
        self.framing = framing
        self._chunk = _PADDED_CHUNK if padded else _CHUNK
        self._left = framing.length
        """Bytes of the body, or of the current chunk with its CR LF, that are still to come."""
        self._line = b""
        """A chunk's size line or the trailers, as far as they came."""
        self._in_trailers = False
        self.trailers = False
        """Whether lines came behind a chunked body."""
        self.complete = framing.kind is BodyKind.NONE

    def feed(self, data: bytes | memoryview) -> int:
        """How many bytes at the beginning of `data` belong to the body. Raises BadBody."""
        if self.complete:
            return 0
        if self.framing.kind is BodyKind.LENGTH:
            taken = min(self._left, len(data))
            self._left -= taken
            self.complete = self._left == 0
            return taken
        if self.framing.kind is BodyKind.CHUNKED:
            return self._feed_chunked(bytes(data))
        return len(data)

    def end_of_stream(self) -> bool:
        """The sender closed: whether that is the body's clean end (else it was cut)."""
        return self.complete or self.framing.kind in (BodyKind.UNTIL_CLOSE, BodyKind.TUNNEL)

    def _feed_chunked(self, data: bytes) -> int:
        position = 0
        while position < len(data) and not self.complete:
            if self._left > 2:
                taken = min(self._left - 2, len(data) - position)
                self._left -= taken
                position += taken
            elif self._left:
                position = self._chunk_end(data, position)
            elif self._in_trailers:
                position = self._trailers(data, position)
            else:
                position = self._size_line(data, position)
        return position

    def _chunk_end(self, data: bytes, position: int) -> int:
        """The CR LF behind a chunk's bytes."""
        expected = b"\r\n"[2 - self._left : 3 - self._left]
        if data[position : position + 1] != expected:
            raise BadBody("a chunk is longer than it said")
        self._left -= 1
        return position + 1

    def _size_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._line += data[position:stop]
        if len(self._line) > CHUNK_LINE_BYTES:
            raise BadBody("a chunk's size line is too long")
        if end < 0:
            return stop
        found = self._chunk.fullmatch(self._line[:-2]) if self._line.endswith(b"\r\n") else None
        if found is None:
            raise BadBody("a chunk's size line is none")
        size = int(found[1], 16)
        self._line = b""
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True
        return stop

    def _trailers(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._line += data[position:stop]
        if len(self._line) > TRAILER_BYTES:
            raise BadBody("the trailers are too long")
        if self._line == b"\r\n" or self._line.endswith(b"\r\n\r\n"):
            text = self._line.decode("latin-1")
            if LINES.fullmatch(text) is None or _FRAMING_NAMES.search(text):
                raise BadBody("the trailers are none")
            self.trailers = self._line != b"\r\n"
            self.complete = True
        elif end >= 0 and not self._line.endswith(b"\r\n"):
            raise BadBody("a bare LF stands in the trailers")
        return stop


class ChunkDecoder:
    """The payload of a chunked body, for a client of HTTP/1.0. Fed only what a BodyWatch has let pass."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """The payload in these bytes."""
        data, position, payload = self._rest + data, 0, []
        while position < len(data) and not self._done:
            if self._left > 2:
                payload.append(data[position : position + self._left - 2])
                position += len(payload[-1])
                self._left -= len(payload[-1])
            elif self._left:
                skipped = min(self._left, len(data) - position)
                position += skipped
                self._left -= skipped
            else:
                end = data.find(b"\r\n", position)
                if end < 0:
                    break
                size = int(data[position:end].partition(b";")[0].strip(), 16)
                position, self._left, self._done = end + 2, size + 2 if size else 0, size == 0
        self._rest = data[position:]
        return b"".join(payload)

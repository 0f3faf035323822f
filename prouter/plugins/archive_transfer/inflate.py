"""What an uploaded archive is made of: a tar as it is, or gzip around it (RFC 1952). Bounded: a bomb is refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from prouter.errors import InvalidRequest, TooLarge

GZIP = b"\x1f\x8b"
IN_BYTES = 8 * 1024
"""Of what is taken apart in one step: of the smallest members of a gzip that is some milliseconds."""
OUT_BYTES = 1024 * 1024
"""Of what is unpacked in one step."""
GRACE_BYTES = 16 * 1024 * 1024
"""So much may come out before the ratio is looked at: a small archive of zeros is no attack."""


class Inflate:
    """Bytes as they came in, bytes of the tar out."""

    def __init__(self, max_ratio: float, max_members: int) -> None:
        self._max_ratio = max_ratio
        self._max_members = max_members
        self._start: bytes | None = b""
        """What came before it was known which of the two this is."""
        self._gzip: zlib._Decompress | None = None
        self._members = 0
        """Of the gzip (RFC 1952 2.2), the present one included."""
        self._in = 0
        self._out = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """In steps, some of which have nothing to give: between two of them others have their turn.

        Raises InvalidRequest for broken gzip, TooLarge for one that grows too much or has too many members.
        """
        if self._start is not None:
            self._start += data
            if len(self._start) < len(GZIP):
                return
            data, self._start = self._start, None
            if data.startswith(GZIP):
                self._begin_member()
        if self._gzip is None:
            yield data
            return
        for start in range(0, len(data), IN_BYTES):
            piece = data[start : start + IN_BYTES]
            self._in += len(piece)
            yield from self._unpack(piece)
            yield b""

    def end(self) -> None:
        """There is no more. Raises InvalidRequest when the gzip was not complete."""
        if self._gzip is not None and not self._gzip.eof:
            raise InvalidRequest("Invalid request: the gzip around the archive ends too early")

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > self._max_members:
            raise TooLarge(f"the gzip around the archive has more than {self._max_members} members")
        self._gzip = zlib.decompressobj(wbits=31)

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        assert self._gzip is not None
        while data:
            if self._gzip.eof:
                data = data.lstrip(b"\0")  # what pads a gzip, of a tape for instance, is passed over as gzip does it
                if not data:
                    return
                if not data.startswith(GZIP[: len(data)]):
                    raise InvalidRequest("Invalid request: there is something behind the archive's end")
                self._begin_member()
            try:
                out = self._gzip.decompress(data, OUT_BYTES)
            except zlib.error:
                raise InvalidRequest("Invalid request: the gzip around the archive is broken") from None
            data = self._gzip.unused_data if self._gzip.eof else self._gzip.unconsumed_tail
            self._out += len(out)
            if self._out > GRACE_BYTES and self._out > self._in * self._max_ratio:
                raise TooLarge(f"the archive unpacks to more than {self._max_ratio:g} times its size")
            if out:
                yield out

"""Reading a tar as it arrives, strictly: regular files and directories only. Pure: bytes in, parts out, at any split.

ustar (POSIX.1-1988), GNU's long names and base-256 sizes, and pax headers' path and size (POSIX.1-2001) are understood.
Whatever else an archive can hold (links, devices, sparse files) is refused by name, never skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from prouter.errors import InvalidRequest

BLOCK = 512
MAX_HEADER_BYTES = 65536
"""Of a pax header or a long name; a path has at most 4096."""
FILES, DIRECTORY = (b"0", b"\0", b"7"), b"5"
LONG_NAME, PAX, PAX_GLOBAL = b"L", b"x", b"g"
REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"K": "a link",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """What follows is this file's content, `size` bytes of it; or it is a directory, which has none."""

    path: str
    directory: bool
    size: int
    mode: int


Part = Member | bytes


class TarReader:
    """Feed it bytes; call `end` behind the last. All raise InvalidRequest for what is no archive that we take."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0
        """Bytes of the present member's content that are still to come."""
        self._padding = 0
        self._extra: bytearray | None = None
        """The content of a header that describes the next member, while it is collected."""
        self._extra_kind = b""
        self._path: str | None = None
        self._size: int | None = None
        """What such headers said of the next member."""
        self._zero_blocks = 0
        """Two of them end an archive."""
        self._over = False
        self.headers = 0
        """So far, those that describe others included."""

    def feed(self, data: bytes) -> list[Part]:
        """The parts that are complete by now."""
        parts: list[Part] = []
        self._buffer += data
        while self._buffer and self._step(parts):
            pass
        return parts

    def end(self) -> None:
        """There is no more: the archive must have said so itself."""
        if not self._over:
            raise InvalidRequest("Invalid request: the archive ends too early, or is no tar")

    def _step(self, parts: list[Part]) -> bool:
        """Whether there may be more to do."""
        if self._over:
            if self._buffer.strip(b"\0"):
                raise InvalidRequest("Invalid request: there is something behind the archive's end")
            self._buffer.clear()
        elif self._left:
            self._content(parts)
        elif self._padding:
            skipped = min(self._padding, len(self._buffer))
            del self._buffer[:skipped]
            self._padding -= skipped
        elif len(self._buffer) < BLOCK:
            return False
        else:
            block = bytes(self._buffer[:BLOCK])
            del self._buffer[:BLOCK]
            self._header(block, parts)
        return True

    def _content(self, parts: list[Part]) -> None:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: len(piece)]
        self._left -= len(piece)
        if self._extra is None:
            parts.append(piece)
            return
        self._extra += piece
        if not self._left:
            content, self._extra = bytes(self._extra), None
            self._describe(content)

    def _header(self, block: bytes, parts: list[Part]) -> None:
        if not block.strip(b"\0"):
            if self._path is not None or self._size is not None:
                raise InvalidRequest("Invalid request: a header of the archive describes nothing")
            self._zero_blocks += 1
            self._over = self._zero_blocks == 2
            return
        if self._zero_blocks:
            raise InvalidRequest("Invalid request: there is something behind the archive's end")
        self.headers += 1
        if _number(block[148:156]) != sum(block[:148]) + sum(block[156:]) + 8 * 32:
            raise InvalidRequest("Invalid request: the archive is no tar, or a header of it is broken")
        kind, size = block[156:157], _number(block[124:136])
        if kind in (LONG_NAME, PAX, PAX_GLOBAL):
            if size > MAX_HEADER_BYTES:
                raise InvalidRequest("Invalid request: a header of the archive is too long")
            self._extra, self._extra_kind = bytearray(), kind
        else:
            size = self._member(block, kind, size, parts)
        self._left, self._padding = size, -size % BLOCK
        if not size and self._extra is not None:
            self._extra = None

    def _member(self, block: bytes, kind: bytes, size: int, parts: list[Part]) -> int:
        """Its content's length."""
        path = self._path if self._path is not None else _path(block)
        size = self._size if self._size is not None else size
        self._path = self._size = None
        if kind not in FILES and kind != DIRECTORY:
            what = REFUSED.get(kind, "something else than a file or a directory")
            raise InvalidRequest(f"Invalid request: the archive's member {path[:200]!r} is {what}")
        directory = kind == DIRECTORY or path.endswith("/")
        if directory and size:
            raise InvalidRequest(f"Invalid request: the archive's directory {path[:200]!r} has a content")
        parts.append(Member(path, directory, size, _number(block[100:108]) & 0o777))
        return size

    def _describe(self, content: bytes) -> None:
        if self._extra_kind == LONG_NAME:
            self._path = _text(content.rstrip(b"\0"))
        else:
            for key, value in _records(content):
                if self._extra_kind == PAX_GLOBAL and key in (b"path", b"size"):
                    raise InvalidRequest("Invalid request: a global header of the archive names a path or a size")
                if key == b"path":
                    self._path = _text(value)
                elif key == b"size":
                    if not value.isdigit() or len(value) > 18:
                        raise InvalidRequest("Invalid request: a size in the archive is no number")
                    self._size = int(value)
                elif key.startswith(b"GNU.sparse"):
                    raise InvalidRequest("Invalid request: the archive holds a sparse file")


def _records(content: bytes) -> list[tuple[bytes, bytes]]:
    """`LENGTH KEY=VALUE\\n`, again and again (POSIX.1-2001, pax)."""
    found = []
    while content:
        digits, _, _ = content.partition(b" ")
        if not digits.isdigit() or len(digits) > 6:
            break
        length = int(digits)
        record, content = content[:length], content[length:]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if len(record) != length or not equals or not value.endswith(b"\n"):
            break
        found.append((key, value[:-1]))
    else:
        return found
    raise InvalidRequest("Invalid request: a pax header of the archive is broken")


def _path(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    """Octal, or base 256 where the first bit is set (GNU)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits and (not digits.isdigit() or any(digit > 0x37 for digit in digits)):
        raise InvalidRequest("Invalid request: the archive is no tar, or a header of it is broken")
    return int(digits or b"0", 8)

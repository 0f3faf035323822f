"""Archives made as they are sent: what to send for each member, each piece of content, and the end. Blocking, pure."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
import zlib
from typing import Protocol

from prouter.model.services import FileEntry
from prouter.model.times import within_calendar

BLOCK = 512
COMPRESSION_LEVEL = 6
EARLIEST, LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
"""What a zip can say of a time."""


class ArchiveWriter(Protocol):
    """One archive. Each call returns the bytes to send next."""

    def begin(self, path: str, entry: FileEntry) -> bytes:
        """A member; a directory is complete with it."""

    def content(self, data: bytes) -> bytes: ...

    def end(self) -> bytes:
        """The member's content is complete."""

    def finish(self) -> bytes:
        """The archive is."""


class TarWriter:
    """pax format, so that names may be long and hold any bytes."""

    def __init__(self) -> None:
        self._size = 0

    def begin(self, path: str, entry: FileEntry) -> bytes:
        info = tarfile.TarInfo(path)
        info.mode, info.mtime = entry.mode, int(entry.modified_at)
        if entry.type == "directory":
            info.type = tarfile.DIRTYPE
        else:
            info.size = entry.size
        self._size = info.size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

    def content(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return bytes(-self._size % BLOCK)

    def finish(self) -> bytes:
        return bytes(2 * BLOCK)


class GzipWriter:
    """Another archive in gzip."""

    def __init__(self, inner: ArchiveWriter) -> None:
        self._inner = inner
        self._gzip = zlib.compressobj(COMPRESSION_LEVEL, wbits=31)

    def begin(self, path: str, entry: FileEntry) -> bytes:
        return self._gzip.compress(self._inner.begin(path, entry))

    def content(self, data: bytes) -> bytes:
        return self._gzip.compress(self._inner.content(data))

    def end(self) -> bytes:
        return self._gzip.compress(self._inner.end())

    def finish(self) -> bytes:
        return self._gzip.compress(self._inner.finish()) + self._gzip.flush()


class ZipWriter:
    """zip with deflate; sizes come behind the content, since nothing can be written twice."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)
        self._member: io.BufferedIOBase | None = None

    def begin(self, path: str, entry: FileEntry) -> bytes:
        directory = entry.type == "directory"
        raw = path.encode("utf-8", "surrogateescape")
        name = raw.decode("utf-8", "backslashreplace") + ("/" if directory else "")  # zip has no names of bytes
        moment = min(max(time.gmtime(within_calendar(entry.modified_at))[:6], EARLIEST), LATEST)
        info = zipfile.ZipInfo(name, moment)
        info.external_attr = (entry.mode | (0o040000 if directory else 0o100000)) << 16
        if directory:
            self._zip.writestr(info, b"")
        else:
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = entry.size
            self._member = self._zip.open(info, "w", force_zip64=entry.size >= 1 << 31)  # type: ignore[assignment]
        return self._sink.take()

    def content(self, data: bytes) -> bytes:
        assert self._member is not None
        self._member.write(data)
        return self._sink.take()

    def end(self) -> bytes:
        assert self._member is not None
        self._member.close()
        self._member = None
        return self._sink.take()

    def finish(self) -> bytes:
        self._zip.close()
        return self._sink.take()


class _Sink(io.RawIOBase):
    """Where zipfile writes: what came since the last look."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        taken = bytes(data)  # type: ignore[call-overload]
        self._parts.append(taken)
        return len(taken)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

"""Writing a job's output outside its sandbox: the one writer of its segments (segments.py).

The newest bytes are kept, at most `limit_bytes` on disk with their headers: the oldest segments go. A full disk never
stops the job: what finds no room is dropped, and the next segment begins behind it.
"""

from __future__ import annotations

import contextlib
import os

from .segments import DIRECTORY, HEADER, MAGIC, Offsets, records, segment_name, segments

SEGMENT_BYTES = 4 * 1024 * 1024
"""A reader that begins in the middle walks at most so much; dropping the oldest drops so much at once."""
SHARES = 8
"""A small limit is divided, so that most of it is always full."""
KEPT_BYTES = 8192
NO_LIMIT = 1 << 62


class Spool:
    """`end` is where the next byte goes. Never raises for what the disk says."""

    def __init__(self, job_directory: str, limit_bytes: int = NO_LIMIT) -> None:
        """Goes on behind what earlier runs of the job wrote."""
        self.kept = b""
        """The newest bytes of this run, in order."""
        self.end = Offsets()
        self._directory = os.path.join(job_directory, DIRECTORY)
        self.limit_bytes = max(limit_bytes, HEADER.size + 1)
        self._segment_bytes = max(min(SEGMENT_BYTES, self.limit_bytes // SHARES), HEADER.size + 1)
        self._sizes: dict[str, int] = {}
        """Of the segments that are there, oldest first."""
        self._total = 0
        self._fd = -1
        self._name = ""
        self._hole = False
        """Bytes were dropped behind the last record."""
        self._recover()

    def write(self, stream: int, data: memoryview) -> None:
        """One record, in the order in which it was read."""
        size = len(data)
        self.kept = bytes(data[-KEPT_BYTES:]) if size >= KEPT_BYTES else (self.kept + data)[-KEPT_BYTES:]
        room = self._segment_bytes - HEADER.size
        while len(data) > room:
            self._record(stream, data[:room])
            data = data[room:]
        if data:
            self._record(stream, data)

    def close(self) -> None:
        """No byte comes any more: what was dropped at the very end is told by an empty segment."""
        self._leave()
        if self._hole:
            with contextlib.suppress(OSError):
                self._open()
            self._leave()

    # --- its parts ---

    def _record(self, stream: int, data: memoryview) -> None:
        needed = HEADER.size + len(data)
        try:
            if self._fd < 0 or self._sizes[self._name] + needed > self._segment_bytes:
                self._leave()
                self._make_room(needed)
                self._open()
            else:
                self._make_room(needed)
            self._put(HEADER.pack(MAGIC, stream, len(data)), data, needed)
        except OSError:
            self._hole = True
            self._abandon()
        self.end = self.end.plus(stream, len(data))

    def _put(self, header: bytes, data: memoryview, needed: int) -> None:
        """The whole record, or nothing of it. Raises OSError."""
        written = _write_both(self._fd, header, data)
        if written != needed:
            os.ftruncate(self._fd, self._sizes[self._name])
            raise OSError("no room for the whole record")
        self._sizes[self._name] += needed
        self._total += needed

    def _make_room(self, needed: int) -> None:
        """By dropping the oldest segments, the current one never."""
        while self._total + needed > self.limit_bytes and self._sizes:
            oldest = next(iter(self._sizes))
            if self._fd >= 0 and oldest == self._name:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._directory, oldest))
            self._total -= self._sizes.pop(oldest)

    def _open(self) -> None:
        """A new segment, which begins at `end`."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)  # and not what is above it: a job that was removed stays so
        name = segment_name(self.end)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(os.path.join(self._directory, name), flags, 0o600)
        self._total -= self._sizes.pop(name, 0)
        self._name, self._sizes[name] = name, 0
        self._hole = False

    def _abandon(self) -> None:
        """A segment that took nothing goes, or a full disk would be full of them."""
        if self._fd >= 0 and not self._sizes[self._name]:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._directory, self._name))
                del self._sizes[self._name]
        self._leave()

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _recover(self) -> None:
        try:
            found = segments(self._directory)
            for _, name in found:
                self._sizes[name] = os.stat(os.path.join(self._directory, name)).st_size
                self._total += self._sizes[name]
            if found:
                self.end, name = found[-1]
                with open(os.path.join(self._directory, name), "rb") as file:
                    content = memoryview(file.read())
                for stream, begin, end in records(content):
                    self.end = self.end.plus(stream, end - begin)
        except OSError:
            pass  # the first byte that is written meets the same disk


def _write_both(fd: int, header: bytes, data: memoryview) -> int:
    if hasattr(os, "writev"):
        return os.writev(fd, (header, data))
    return os.write(fd, header + data)  # where there is no writev, pieces are small

"""One stream of a job's output on its way: into the spool, and into a copy for people."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import time
from typing import Protocol

from .spool import Spool

with contextlib.suppress(ImportError):  # on Windows, where nobody has an outlet
    import fcntl
    import termios

READ_BYTES = 65536
"""What a pipe holds."""
MIN_LIMIT_BYTES = 4096
"""A smaller limit has no room for the words that tell what is missing."""
PIECE_BYTES = 4096
"""A pipe that can be written at all takes so much at once (PIPE_BUF)."""
PATIENCE_MS = 20
WORDS_BYTES = 64
"""More than the words that tell what is missing."""
MOVE_BYTES = 1024 * 1024
DRAIN_SECONDS = 5.0
"""For what a job left in one of its pipes; a disk that is slower loses the rest, and the job ends."""


class Copy(Protocol):
    """Where a stream goes beside the spool."""

    def write(self, data: memoryview) -> None:
        """Never raises for what the disk says, and never waits for long."""

    def close(self) -> None: ...


class Outlet:
    """Reads the pipe `source`, which does not block."""

    def __init__(self, source: int, stream: int, spool: Spool, copy: Copy) -> None:
        self.source = source
        self.open = True
        self.stream = stream
        self._spool = spool
        self._copy = copy
        self._buffer = memoryview(bytearray(READ_BYTES))

    def pump(self) -> bool:
        """Pass on what is there, at most what one read takes; False once the stream has ended."""
        self._pass_on()
        return self.open

    def drain(self, last_words: bytes = b"") -> None:
        """What is in the pipe now that the job is gone; then words of ours.

        Whoever else was given the pipe may write on without end: nothing that comes from here on is the job's.
        """
        left, until = _waiting(self.source) if self.open else 0, time.monotonic() + DRAIN_SECONDS
        while left and time.monotonic() < until and (passed := self._pass_on(left)):
            left -= passed
        if left and self.open:
            last_words = b"\n[%d bytes were dropped here]\n%b" % (left, last_words)
        if last_words:
            self._spool.write(self.stream, memoryview(last_words))
            self._copy.write(memoryview(last_words))
        self.close()

    def close(self) -> None:
        """For good: the copy too, which stays open behind the end of the stream."""
        self._end_reading()
        self._copy.close()

    def _end_reading(self) -> None:
        if self.open:
            self.open = False
            os.close(self.source)

    def _pass_on(self, most: int = READ_BYTES) -> int:
        """So many bytes; 0: there was nothing."""
        if not self.open:
            return 0
        try:
            size = os.readv(self.source, (self._buffer[:most],))
        except BlockingIOError:
            return 0
        except OSError:
            size = 0
        if not size:
            self._end_reading()
            return 0
        data = self._buffer[:size]
        self._spool.write(self.stream, data)
        self._copy.write(data)
        return size


def _waiting(pipe: int) -> int:
    """Bytes that are in it."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _make_way(path: str) -> None:
    """Nothing has this name afterwards: a directory that a job made there gets another one. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise
        number = 1
        while os.path.lexists(f"{path}.{number}"):
            number += 1
        os.rename(path, f"{path}.{number}")


class NewestFile:
    """A file in the sandbox with the newest bytes of a stream, a quarter of the limit at least, and never more than it.

    Made anew, whatever is there by that name; written by its descriptor only, so that a job can not lead us elsewhere.
    """

    def __init__(self, path: str, limit_bytes: int) -> None:
        """Raises OSError."""
        _make_way(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags, 0o644)
        self._limit = max(limit_bytes, MIN_LIMIT_BYTES)
        self._size = 0
        self._front = 0
        """Bytes at the beginning that are our words."""
        self._lost = 0
        """Bytes that were dropped in front."""
        self._dropped = 0
        """Bytes that found no room since the last that did."""

    def write(self, data: memoryview) -> None:
        words = b"\n[%d bytes were dropped here]\n" % self._dropped if self._dropped else b""
        room = self._limit - 2 * WORDS_BYTES
        with contextlib.suppress(OSError):
            if self._size + len(words) + len(data) > self._limit:
                self._lost += max(0, len(data) - room)
                data = data[-room:]
                self._shorten(min(self._limit // 4, room - len(data)))
            if words:
                self._put(memoryview(words))
                self._dropped = 0
            data = data[self._put(data) :]
        self._dropped += len(data)

    def close(self) -> None:
        os.close(self._fd)

    def _put(self, data: memoryview) -> int:
        written = 0
        while written < len(data):
            try:
                written += os.write(self._fd, data[written:])
            except OSError:
                break
        self._size += written
        return written

    def _shorten(self, keep: int) -> None:
        """Move the newest bytes to the front, and say what is gone. Raises OSError."""
        source = self._size - min(keep, self._size - self._front)
        self._lost += source - self._front
        words = b"[%d bytes were dropped here]\n" % self._lost
        self._front = target = len(words)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, words)
        while source < self._size:
            os.lseek(self._fd, source, os.SEEK_SET)
            part = os.read(self._fd, min(MOVE_BYTES, self._size - source))
            if not part:
                break  # the job made it shorter
            os.lseek(self._fd, target, os.SEEK_SET)
            os.write(self._fd, part)
            source += len(part)
            target += len(part)
        self._size = target
        os.ftruncate(self._fd, target)
        os.lseek(self._fd, target, os.SEEK_SET)


class NoCopy:
    """The spool is enough."""

    def write(self, data: memoryview) -> None: ...

    def close(self) -> None: ...


class Forward:
    """A copy to the agent's own output. Whoever reads that may be stuck: then bytes are dropped."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._plain = stat.S_ISREG(os.fstat(target).st_mode) or not hasattr(select, "poll")
        if not self._plain:
            self._poll = select.poll()
            self._poll.register(target, select.POLLOUT)
        self._dropped = 0

    def write(self, data: memoryview) -> None:
        patience = 0 if self._dropped else PATIENCE_MS
        with contextlib.suppress(OSError):
            if self._dropped and self._ready(0):
                os.write(self._target, b"\n[%d bytes were dropped here]\n" % self._dropped)
                self._dropped = 0
            while data and self._ready(patience):
                data = data[os.write(self._target, data if self._plain else data[:PIECE_BYTES]) :]
        self._dropped += len(data)

    def close(self) -> None:
        """It is not ours."""

    def _ready(self, patience: int) -> bool:
        return self._plain or bool(self._poll.poll(patience))

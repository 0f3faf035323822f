"""An upload in parts: what came so far lies in the job's directory, outside the sandbox, until all is there.

The file's length is the state: it outlives a cut, and an agent that is started again. It goes with the job.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from prouter.agent.files.trees import explain
from prouter.agent.files.upload import WRITE_BYTES, OffLoop
from prouter.errors import Conflict, TooManyRequests
from prouter.model.sandbox_files import PartsBounds

FOLDER = "uploads"


class PartedFile:
    """Implements model.sandbox_files.PartedUpload. The underscored methods run in a thread, one at a time."""

    def __init__(self, beside: Path, path: str, total: int, busy: set[Path], bounds: PartsBounds, off_loop: OffLoop):
        self._folder = beside / FOLDER
        key = hashlib.sha256(f"{total} {path}".encode("utf-8", "surrogateescape")).hexdigest()
        self._place = self._folder / key
        self._path = path
        self._busy = busy
        self._bounds = bounds
        self._off_loop = off_loop
        self._mine = False
        self._file: int | None = None
        self._waiting = bytearray()
        self.offset = 0

    async def begin(self) -> None:
        """Raises Conflict when another request is at it."""
        self._mine = self._place not in self._busy
        self._busy.add(self._place)
        await self._off_loop(self._look)
        if not self._mine:
            raise Conflict(f"another request uploads {self._path!r} right now", extra={"offset": self.offset})

    async def write(self, chunk: bytes) -> None:
        self._waiting += chunk
        if len(self._waiting) >= WRITE_BYTES:
            await self._off_loop(self._flush)

    async def keep(self) -> None:
        await self._off_loop(self._keep)

    async def content(self) -> AsyncIterator[bytes]:
        at = 0
        while at < self.offset:
            found: list[bytes] = []
            start = at
            await self._off_loop(lambda: found.append(self._read(start)))  # noqa: B023 - awaited at once
            at += len(found[0])
            yield found[0]

    async def done(self) -> None:
        await self._off_loop(lambda: self._place.unlink(missing_ok=True))

    async def close(self) -> None:
        """What came is kept, whatever happened."""
        try:
            if self._mine:
                await self._off_loop(self._close)
        finally:
            if self._mine:
                self._busy.discard(self._place)

    def _look(self) -> None:
        self._forget_old()
        with contextlib.suppress(OSError):
            self.offset = self._place.stat().st_size

    def _forget_old(self) -> None:
        oldest = time.time() - self._bounds.age_seconds
        for place in self._unfinished():
            with contextlib.suppress(OSError):
                if place not in self._busy and place.stat().st_mtime < oldest:
                    place.unlink()

    def _unfinished(self) -> list[Path]:
        try:
            return list(self._folder.iterdir())
        except FileNotFoundError:
            return []

    def _open(self) -> int:
        others = [place for place in self._unfinished() if place != self._place]
        if len(others) >= self._bounds.count and not self._place.exists():
            raise TooManyRequests(
                f"this job has {len(others)} unfinished uploads, which is the limit (files.max_unfinished_uploads)",
                headers={"Retry-After": "60"},
            )
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def _flush(self) -> None:
        data, self._waiting = self._waiting, bytearray()
        view = memoryview(data)
        try:
            if self._file is None:
                self._file = self._open()
            while view:
                written = os.write(self._file, view)
                self.offset += written
                view = view[written:]
        except OSError as error:
            raise explain(error, self._path) from None

    def _keep(self) -> None:
        self._flush()
        assert self._file is not None
        try:
            os.fsync(self._file)
        except OSError as error:  # what is on disk is not known, and the next one would say that all is well
            self._place.unlink(missing_ok=True)
            self.offset = 0
            raise explain(error, self._path) from None

    def _read(self, at: int) -> bytes:
        try:
            with self._place.open("rb") as file:
                file.seek(at)
                found = file.read(WRITE_BYTES)
        except OSError as error:
            raise explain(error, self._path) from None
        if not found:
            raise Conflict(f"the parts of {self._path!r} were taken away meanwhile", extra={"offset": 0})
        return found

    def _close(self) -> None:
        try:
            if self._waiting:
                self._flush()
        finally:
            if self._file is not None:
                os.close(self._file)

"""`archive_upload` and `archive_download`: archives over the link of an original router.

The size of a download comes first, so the archive is made in a file that has no name: it is gone with its descriptor,
however the call, the link or the agent ends.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import IO, Any, Protocol

from prouter.errors import InvalidRequest, NoRoom, OriginalError, TooLarge
from prouter.model.ids import JobUid
from prouter.model.plugin import RpcKind, RpcMethod, RpcStream
from prouter.model.services import SandboxFiles

CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 1024 * 1024

Sink = Callable[[bytes], Awaitable[None]]
Pack = Callable[[SandboxFiles, str | None, str | None, bool, Sink], Awaitable[None]]
"""(files, include, exclude, compress, where to)."""


class Reading(Protocol):
    """An upload that is being unpacked."""

    entries: int

    async def take(self, chunk: bytes) -> None: ...

    async def done(self) -> None:
        """It was complete: all of it takes its place."""


class OriginalArchives:
    """The methods, with the argument names of the wire."""

    def __init__(
        self,
        files: Callable[[JobUid], AbstractAsyncContextManager[SandboxFiles]],
        reading: Callable[[SandboxFiles], AbstractAsyncContextManager[Reading]],
        pack: Pack,
        directory: Path,
        max_spool_bytes: int,
    ) -> None:
        self._files = files
        self._reading = reading
        self._pack = pack
        self._directory = directory
        self._max_spool_bytes = max_spool_bytes

    def methods(self) -> list[RpcMethod]:
        return [
            RpcMethod("archive_upload", RpcKind.OSTREAM, self.archive_upload),
            RpcMethod("archive_download", RpcKind.ISTREAM, self.archive_download),
        ]

    async def archive_upload(self, stream: RpcStream, job_uid: Any) -> int:
        """Chunks of a tar until the router closes its stream; all of it is unpacked, or nothing. Its size."""
        size, started = 0, False
        try:
            async with self._files(JobUid(str(job_uid))) as files, self._reading(files) as reading:
                while (chunk := await stream.receive()) is not None:
                    if not isinstance(chunk, bytes):
                        raise InvalidRequest("Invalid request: a chunk of an archive is bytes")
                    size += len(chunk)
                    await reading.take(chunk)
                    started = reading.entries > 0
                await reading.done()
        except InvalidRequest as error:
            said = error.detail.removeprefix("Invalid request: ")
            if not started:
                raise OriginalError("ReadError", "file could not be opened successfully", said) from error
            raise OriginalError("ValueError", said) from error
        return size

    async def archive_download(
        self,
        stream: RpcStream,
        job_uid: Any,
        include_mask: Any = None,
        exclude_mask: Any = None,
        compress: Any = False,
        chunk_size: Any = CHUNK_BYTES,
    ) -> int:
        """The size, then chunks of `chunk_size`. Its size."""
        if not isinstance(include_mask, str | None) or not isinstance(exclude_mask, str | None):
            raise InvalidRequest("Invalid request: masks are texts")
        if not isinstance(chunk_size, int) or chunk_size < 1:
            raise InvalidRequest("Invalid request: a chunk has at least one byte")
        async with self._files(JobUid(str(job_uid))) as files:
            await files.list("", lambda names: ())  # no file is made for a job without a sandbox
            with await asyncio.to_thread(self._spool) as spooled:
                spool = _Spool(spooled, self._max_spool_bytes)
                await self._pack(files, include_mask, exclude_mask, bool(compress), spool.write)
                await stream.send({"size": spool.size})
                await spool.send(stream, min(chunk_size, MAX_CHUNK_BYTES))
                return spool.size

    def _spool(self) -> IO[bytes]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=self._directory)
        except OSError as error:
            raise NoRoom(f"no file for the archive can be made: {error.strerror}") from None


class _Spool:
    """An archive on disk, within its bound."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self.size = 0
        self._file = file
        self._max_bytes = max_bytes

    async def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            raise TooLarge(f"the archive has more than archives.max_spool_bytes, {self._max_bytes}")
        try:
            await asyncio.to_thread(self._file.write, data)
        except OSError as error:
            raise NoRoom(f"the archive can not be kept on disk: {error.strerror}") from None

    async def send(self, stream: RpcStream, chunk_bytes: int) -> None:
        await asyncio.to_thread(self._file.seek, 0)
        while chunk := await asyncio.to_thread(self._file.read, chunk_bytes):
            await stream.send(chunk)

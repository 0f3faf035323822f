"""`file_upload` and `file_download`: files over the link of an original router, with its words for errors."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from prouter.errors import Conflict, FileMissing, Internal, InvalidRequest, OriginalError, ProuterError
from prouter.model.ids import JobUid
from prouter.model.plugin import RpcKind, RpcMethod, RpcStream
from prouter.model.services import AgentJobs, OpenedFile, SandboxFiles
from prouter.plugins.file_transfer.download import remove_sent

CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 1024 * 1024


class OriginalFiles:
    """The methods, with the argument names of the wire."""

    def __init__(self, jobs: AgentJobs) -> None:
        self._jobs = jobs

    def methods(self) -> list[RpcMethod]:
        return [
            RpcMethod("file_upload", RpcKind.OSTREAM, self.file_upload),
            RpcMethod("file_download", RpcKind.ISTREAM, self.file_download),
        ]

    async def file_upload(self, stream: RpcStream, job_uid: Any, filename: Any, executable: Any = False) -> int:
        """Chunks until the router closes its stream; the file is there whole, or not at all. Its size."""
        path = _path(filename)
        async with self._jobs.files(JobUid(str(job_uid))) as files:
            try:
                async with files.writing(path, executable=bool(executable)) as upload:
                    while (chunk := await stream.receive()) is not None:
                        if not isinstance(chunk, bytes):
                            raise InvalidRequest("Invalid request: a chunk of a file is bytes")
                        await upload.write(chunk)
                    size, _ = await upload.commit()
            except Conflict as error:
                raise _in_the_way(path, error) from error
        return size

    async def file_download(
        self,
        stream: RpcStream,
        job_uid: Any,
        filename: Any,
        chunk_size: Any = CHUNK_BYTES,
        remove: Any = False,
    ) -> int:
        """The size, then chunks of `chunk_size`; with `remove` the file is gone then. Its size."""
        path, chunk_bytes = _path(filename), _chunk_bytes(chunk_size)
        async with self._jobs.files(JobUid(str(job_uid))) as files:
            try:
                async with files.reading(path) as opened:
                    await stream.send({"size": opened.size})
                    await _send(stream, opened, chunk_bytes)
                    size = opened.size
                    if remove:
                        await remove_sent(files, path, opened)
            except FileMissing as error:
                text = f"[Errno 2] No such file or directory: {path!r}"
                raise OriginalError("FileNotFoundError", text, error.detail) from error
            except (Conflict, InvalidRequest) as error:
                if isinstance(error, Conflict) or await _is_directory(files, path):
                    raise _in_the_way(path, error) from error
                raise
        return size


def _path(filename: Any) -> str:
    if not isinstance(filename, str):
        raise InvalidRequest("Invalid request: a file's name is a text")
    if filename.startswith("/"):
        raise InvalidRequest("Invalid request: file path must be relative")
    return filename


def _chunk_bytes(chunk_size: Any) -> int:
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise InvalidRequest("Invalid request: a chunk has at least one byte")
    return min(chunk_size, MAX_CHUNK_BYTES)


async def _is_directory(files: SandboxFiles, path: str) -> bool:
    try:
        await files.list(path, lambda names: ())
    except ProuterError:
        return False
    return True


def _in_the_way(path: str, error: ProuterError) -> OriginalError:
    if "a file stands where" in error.detail:
        return OriginalError("NotADirectoryError", f"[Errno 20] Not a directory: {path!r}", error.detail)
    return OriginalError("IsADirectoryError", f"[Errno 21] Is a directory: {path!r}", error.detail)


async def _send(stream: RpcStream, opened: OpenedFile, chunk_bytes: int) -> None:
    """A file that shrinks meanwhile is an error; of one that grows, what was there at first is sent."""
    offset = 0
    while offset < opened.size:
        wanted = min(chunk_bytes, opened.size - offset)
        chunk = await asyncio.to_thread(os.pread, opened.fd, wanted, offset)
        if not chunk:
            raise Internal("the file became shorter while it was being sent")
        await stream.send(chunk)
        offset += len(chunk)

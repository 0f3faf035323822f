"""A file as an HTTP answer: whole, a range of it, or only that the client has it already."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from prouter.errors import FileMissing, Internal, InvalidRequest, PreconditionFailed
from prouter.model.http import Reply
from prouter.model.plugin import Call
from prouter.model.query import switch
from prouter.model.services import OpenedFile, SandboxFiles
from prouter.model.times import http_date
from prouter.plugins.file_transfer.conditions import Conditions, asked_range

if TYPE_CHECKING:
    from aiohttp import web

READ_BYTES = 1024 * 1024
"""One thread hop reads so much: a hop costs 100 us, a MiB from the page cache as much again."""


async def download(call: Call, files: SandboxFiles) -> Reply | web.StreamResponse:
    """The answer to GET and HEAD of one file."""
    path = call.params["rest"]
    remove = switch(call.query, "remove") and call.head.method == "GET"
    if remove and call.head.get("range") is not None:
        raise InvalidRequest("Invalid request: a file can not be removed by reading a range of it")
    async with files.reading(path) as opened:
        if Conditions(call.head).unchanged(opened.etag):
            return Reply(304, tuple(_headers(opened).items()))
        answer = await _sent(call, opened)
        if remove:
            await remove_sent(files, path, opened)
    return answer


async def remove_sent(files: SandboxFiles, path: str, opened: OpenedFile) -> None:
    """Delete a file that was sent whole and is still open; another one that has its name by now was not, and stays."""

    def same(etag: str | None) -> None:
        if etag != opened.etag:
            raise PreconditionFailed(f"{path!r} was changed while it was sent")

    with contextlib.suppress(PreconditionFailed, FileMissing):
        await files.remove(path, condition=same)


async def _sent(call: Call, opened: OpenedFile) -> web.StreamResponse:
    from aiohttp import web

    is_read = call.head.method == "GET"
    part = asked_range(call.head, opened.etag, opened.modified_at, opened.size) if is_read else None
    wanted = range(opened.size) if part is None else part
    answer = web.StreamResponse(status=200 if part is None else 206, headers=_headers(opened))
    answer.headers["Content-Type"] = "application/octet-stream"
    answer.content_length = len(wanted)
    if part is not None:
        answer.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{opened.size}"
    assert call.request is not None
    await answer.prepare(call.request)
    if is_read:
        await _send(opened, wanted, answer)
    await answer.write_eof()
    return answer


def _headers(opened: OpenedFile) -> dict[str, str]:
    return {
        "ETag": opened.etag,
        "Last-Modified": http_date(opened.modified_at),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }


async def _send(opened: OpenedFile, wanted: range, answer: web.StreamResponse) -> None:
    """A file that shrinks meanwhile breaks the answer off, so that the client sees a cut."""
    offset = wanted.start
    while offset < wanted.stop:
        chunk = await asyncio.to_thread(os.pread, opened.fd, min(READ_BYTES, wanted.stop - offset), offset)
        if not chunk:
            raise Internal("the file became shorter while it was being sent")
        await answer.write(chunk)
        offset += len(chunk)

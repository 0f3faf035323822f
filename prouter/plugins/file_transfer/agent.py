"""The agent's half: an ordinary HTTP handler on the sandbox's files. Reached through pipes only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from typing import TYPE_CHECKING

from prouter import hookimpl
from prouter.errors import Internal, UnsupportedMediaType
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.model.services import AgentHost, OpenedFile, SandboxFiles

if TYPE_CHECKING:
    from aiohttp import web

READ_BYTES = 1024 * 1024
"""One thread hop reads so much: a hop costs 100 us, a MiB from the page cache as much again."""


class FileTransfer:
    """Plugin `file_transfer` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent

    @hookimpl
    def prouter_agent_routes(self) -> Sequence[Route]:
        path = "/jobs/{job}/file/{rest...}"
        return [
            Route(("GET", "HEAD"), path, "files.read", "Download a file.", self._download),
            Route(("POST", "PUT"), path, "files.write", "Upload a file.", self._upload, binary_body=True),
        ]

    async def _download(self, call: Call) -> web.StreamResponse:
        from aiohttp import web

        path = call.params["rest"]
        remove = call.head.method == "GET" and call.query.get("remove", "0") not in ("", "0")
        async with self._files(call) as files:
            async with files.reading(path) as opened:
                answer = web.StreamResponse(headers=_headers(opened))
                answer.content_length = opened.size
                assert call.request is not None
                await answer.prepare(call.request)
                if call.head.method != "HEAD":
                    await _send(opened, answer)
                await answer.write_eof()
            if remove:
                await files.remove(path)
        return answer

    async def _upload(self, call: Call) -> Reply:
        request = call.request
        assert request is not None
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("an uploaded file must be sent as it is, without Content-Encoding")
        executable = call.query.get("executable", "0") not in ("", "0")
        expected = request.content_length
        async with (
            self._files(call) as files,
            files.writing(call.params["rest"], executable=executable, expected_size=expected) as upload,
        ):
            async for chunk in request.content.iter_any():
                await upload.write(chunk)
            size, digest = await upload.commit()
        return Reply.json({"size": size, "sha256": digest})

    def _files(self, call: Call) -> AbstractAsyncContextManager[SandboxFiles]:
        assert self._agent is not None
        return self._agent.jobs.files(call.job_ref().job)


def _headers(opened: OpenedFile) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "ETag": opened.etag,
        "Last-Modified": formatdate(opened.modified_at, usegmt=True),
        "X-Content-Type-Options": "nosniff",
    }


async def _send(opened: OpenedFile, answer: web.StreamResponse) -> None:
    """The whole file. One that shrinks meanwhile breaks the answer off, so that the client sees a cut."""
    offset = 0
    while offset < opened.size:
        chunk = await asyncio.to_thread(os.pread, opened.fd, min(READ_BYTES, opened.size - offset), offset)
        if not chunk:
            raise Internal("the file became shorter while it was being sent")
        await answer.write(chunk)
        offset += len(chunk)

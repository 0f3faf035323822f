"""The agent's half: an ordinary HTTP handler on the sandbox's files, reached through pipes; originals have methods."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from prouter import hookimpl
from prouter.errors import Internal, InvalidRequest, ProuterError, UnsupportedMediaType
from prouter.model.http import Reply
from prouter.model.plugin import Call, ConfigSection, Route, RpcMethod, idempotency_key
from prouter.model.query import switch
from prouter.model.services import AgentHost, PartsBounds, SandboxFiles
from prouter.plugins.file_transfer import listing
from prouter.plugins.file_transfer.conditions import Conditions
from prouter.plugins.file_transfer.download import download
from prouter.plugins.file_transfer.original import OriginalFiles
from prouter.plugins.file_transfer.parts import part_taken

if TYPE_CHECKING:
    from aiohttp import web

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "max_unfinished_uploads": {
        "type": "integer",
        "minimum": 1,
        "default": 16,
        "description": "Uploads in parts of one job that are not finished; beyond it the answer is 429.",
    },
    "unfinished_upload_age": {
        "type": "number",
        "minimum": 1,
        "default": 86400,
        "description": "Seconds after which an unfinished upload to which no part came is forgotten.",
    },
}


class FileTransfer:
    """Plugin `file_transfer` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection("files", SETTINGS)]

    @hookimpl
    def prouter_agent_routes(self) -> Sequence[Route]:
        file, files = "/jobs/{job}/file/{rest...}", "/jobs/{job}/files"
        return [
            Route(("GET", "HEAD"), file, "files.read", "Download a file.", self._download),
            Route(("POST", "PUT"), file, "files.write", "Upload a file.", self._upload, binary_body=True),
            Route(("DELETE",), file, "files.delete", "Delete a file.", self._delete, binary_body=True),
            Route(("GET", "HEAD"), files, "files.read", "List a directory.", self._list),
            Route(("POST",), files, "files.write", "Make or move.", self._change, schema=listing.CHANGE),
        ]

    @hookimpl
    def prouter_rpc_methods(self) -> Sequence[RpcMethod]:
        assert self._agent is not None
        return OriginalFiles(self._agent.jobs).methods()

    async def _download(self, call: Call) -> Reply | web.StreamResponse:
        async with self._files(call) as files:
            return await download(call, files)

    async def _upload(self, call: Call) -> Reply:
        """A whole file, or with PUT and Content-Range a part of one."""
        request = call.request
        assert request is not None
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("an uploaded file must be sent as it is, without Content-Encoding")
        executable = switch(call.query, "executable")
        if "Content-Range" in request.headers:
            if call.head.method != "PUT":  # a part must not be taken for the whole
                raise InvalidRequest("Invalid request: an upload in parts is a PUT")
            async with self._files(call) as files:
                return await part_taken(call, files, self._bounds(), executable=executable)
        async with (
            self._files(call) as files,
            files.writing(
                call.params["rest"],
                executable=executable,
                expected_size=request.content_length,
                condition=Conditions(call.head).refuse,
            ) as upload,
        ):
            async for chunk in request.content.iter_any():
                await upload.write(chunk)
            size, digest = await upload.commit()
        return Reply.json({"size": size, "sha256": digest})

    async def _delete(self, call: Call) -> Reply:
        async with self._files(call) as files:
            await files.remove(call.params["rest"], directories=True, condition=Conditions(call.head).refuse)
        return Reply(204)

    async def _list(self, call: Call) -> Reply:
        async with self._files(call) as files:
            return await listing.listed(call, files)

    async def _change(self, call: Call) -> Reply:
        """Once for each Idempotency-Key: it goes on when the caller is gone, who may come again and ask."""
        key = idempotency_key(call.head)
        if key is None:
            return await self._changed(call)
        assert self._agent is not None
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._agent.tasks.start(f"change of files of job {call.job_ref().job}", self._change_once(call, key, answered))
        return await answered

    async def _change_once(self, call: Call, key: str, answered: asyncio.Future[Reply]) -> None:
        assert self._agent is not None
        try:
            record = self._agent.jobs.get(call.job_ref().job)
            known, asked = ("files", record.uid, record.created_at, key), json.dumps(call.body, sort_keys=True)
            reply = await self._agent.repeats.do(known, asked, lambda: self._changed(call))
            if not answered.done():
                answered.set_result(reply)
        except ProuterError as error:
            if not answered.done():
                answered.set_exception(error)
        finally:
            if not answered.done():
                answered.set_exception(Internal())

    async def _changed(self, call: Call) -> Reply:
        async with self._files(call) as files:
            return await listing.changed(call, files)

    def _bounds(self) -> PartsBounds:
        assert self._agent is not None
        section = self._agent.config.section("files")
        return PartsBounds(section["max_unfinished_uploads"], section["unfinished_upload_age"])

    def _files(self, call: Call) -> AbstractAsyncContextManager[SandboxFiles]:
        assert self._agent is not None
        return self._agent.jobs.files(call.job_ref().job)

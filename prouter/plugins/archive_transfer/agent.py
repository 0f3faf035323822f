"""The agent's half: sends the sandbox as an archive, reads an archive and unpacks it, over pipes and for originals."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from prouter import hookimpl
from prouter.errors import FileMissing, Internal, InvalidRequest, TooLarge
from prouter.model.http import Reply
from prouter.model.plugin import Call, ConfigSection, Route, RpcMethod
from prouter.model.query import switch
from prouter.model.services import AgentHost, FileEntry, SandboxFiles, Unpacking
from prouter.plugins.archive_transfer.choosing import Choice, Members
from prouter.plugins.archive_transfer.inflate import Inflate
from prouter.plugins.archive_transfer.original import OriginalArchives, Sink
from prouter.plugins.archive_transfer.tar_reader import Member, TarReader
from prouter.plugins.archive_transfer.writers import ArchiveWriter, GzipWriter, TarWriter, ZipWriter

if TYPE_CHECKING:
    from aiohttp import web

READ_BYTES = 1024 * 1024
MEDIA_TYPES = {"tar": "application/x-tar", "tar.gz": "application/gzip", "zip": "application/zip"}


class ArchiveTransfer:
    """Plugin `archive_transfer` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None
        self._limits: dict[str, Any] = {}

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [
            ConfigSection(
                "archives",
                {
                    "max_entries": _limit("Members of an archive, up or down.", 100_000),
                    "max_bytes": _limit("Bytes of the files in an uploaded archive, unpacked.", 64 * 1024**3),
                    "max_ratio": _limit("How many times its size an uploaded tar.gz may unpack to.", 200),
                    "max_gzip_members": _limit("Gzip members that an uploaded tar.gz may consist of.", 100_000),
                    "max_spool_bytes": _limit(
                        "Bytes on disk of one archive on its way to an original router, which wants its size first.",
                        16 * 1024**3,
                    ),
                },
            )
        ]

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent
        self._limits = dict(agent.config.section("archives"))

    @hookimpl
    def prouter_agent_routes(self) -> Sequence[Route]:
        path = "/jobs/{job}/archive"
        return [
            Route(("GET",), path, "files.read", "Download the sandbox as an archive.", self._download),
            Route(("POST",), path, "files.write", "Upload and unpack a tar or tar.gz.", self._upload, binary_body=True),
        ]

    @hookimpl
    def prouter_rpc_methods(self) -> Sequence[RpcMethod]:
        agent = self._agent
        assert agent is not None
        spool_bytes = self._limits["max_spool_bytes"]
        originals = OriginalArchives(agent.jobs.files, self._reading, self._pack, agent.state_directory, spool_bytes)
        return originals.methods()

    # --- down ---

    async def _download(self, call: Call) -> web.StreamResponse:
        from aiohttp import web

        query = call.query
        compress, form = switch(query, "compress"), query.get("format", "tar")
        if form not in ("tar", "zip"):
            raise InvalidRequest(f"Invalid request: format={form[:20]!r} is neither tar nor zip")
        if form == "tar" and compress:
            form = "tar.gz"
        async with self._files(call) as files:
            top = query.get("path", "").strip("/")
            choice = Choice(files, top, query.get("include"), query.get("exclude"), self._limits["max_entries"])
            await choice.check()  # so that what can not be had is an error and no cut
            answer = web.StreamResponse(
                headers={"Content-Type": MEDIA_TYPES[form], "X-Content-Type-Options": "nosniff"}
            )
            assert call.request is not None
            await answer.prepare(call.request)
            await self._send(files, top, choice.members(), _writer(form), answer.write)
            await answer.write_eof()
        return answer

    async def _send(self, files: SandboxFiles, top: str, members: Members, writer: ArchiveWriter, send: Sink) -> None:
        async for path, entry in members:
            if entry.type == "directory":
                await send(writer.begin(path, entry))
            else:
                await _send_file(files, f"{top}/{path}".lstrip("/"), path, entry, writer, send)
        await send(await asyncio.to_thread(writer.finish))

    async def _pack(
        self, files: SandboxFiles, include: str | None, exclude: str | None, compress: bool, send: Sink
    ) -> None:
        """A tar of the whole sandbox."""
        choice = Choice(files, "", include, exclude, self._limits["max_entries"])
        await self._send(files, "", choice.members(), _writer("tar.gz" if compress else "tar"), send)

    # --- up ---

    async def _upload(self, call: Call) -> Reply:
        assert call.request is not None
        async with self._files(call) as files, self._reading(files) as reading:
            async for chunk in call.request.content.iter_any():
                await reading.take(chunk)
            await reading.done()
        return Reply.json({"entries": reading.entries, "bytes": reading.bytes})

    @asynccontextmanager
    async def _reading(self, files: SandboxFiles) -> AsyncIterator[_Reading]:
        async with files.unpacking() as unpacking:
            yield _Reading(unpacking, self._limits)

    def _files(self, call: Call) -> AbstractAsyncContextManager[SandboxFiles]:
        assert self._agent is not None
        return self._agent.jobs.files(call.job_ref().job)


class _Reading:
    """An upload: what came is taken apart and staged, within the limits."""

    def __init__(self, unpacking: Unpacking, limits: dict[str, Any]) -> None:
        self.entries = 0
        self.bytes = 0
        self._unpacking = unpacking
        self._limits = limits
        self._inflate = Inflate(limits["max_ratio"], limits["max_gzip_members"])
        self._tar = TarReader()

    async def take(self, chunk: bytes) -> None:
        """Inflating and parsing of one chunk, at most, stands between two turns of the event loop."""
        for piece in self._inflate.feed(chunk):
            for part in self._tar.feed(piece):
                if isinstance(part, Member):
                    await self._begin(part)
                else:
                    await self._unpacking.write(part)
            if self._tar.headers > 4 * self._limits["max_entries"]:
                raise TooLarge("the archive has more headers than its members can need")
            await asyncio.sleep(0)

    async def done(self) -> None:
        """There is no more: all of it takes its place."""
        self._inflate.end()
        self._tar.end()
        await self._unpacking.place()

    async def _begin(self, member: Member) -> None:
        self.entries += 1
        self.bytes += member.size
        for name, count in (("max_entries", self.entries), ("max_bytes", self.bytes)):
            if count > self._limits[name]:
                raise TooLarge(f"the archive holds more than archives.{name}, {self._limits[name]}")
        if member.directory:
            await self._unpacking.directory(member.path, member.mode)
        else:
            await self._unpacking.file(member.path, member.mode, member.size)


def _limit(description: str, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "default": default, "description": description}


def _writer(form: str) -> ArchiveWriter:
    if form == "zip":
        return ZipWriter()
    return GzipWriter(TarWriter()) if form == "tar.gz" else TarWriter()


async def _send_file(
    files: SandboxFiles, name: str, path: str, entry: FileEntry, writer: ArchiveWriter, send: Sink
) -> None:
    """A file that becomes shorter while it is sent breaks the archive off; one that grows is sent as it was."""
    try:
        opening = files.reading(name)
        opened = await opening.__aenter__()
    except (FileMissing, InvalidRequest):  # it went meanwhile, or something else took its place
        return
    try:
        fresh = FileEntry(entry.name, entry.type, opened.size, entry.mode, opened.modified_at)
        await send(writer.begin(path, fresh))
        offset = 0
        while offset < opened.size:
            count = min(READ_BYTES, opened.size - offset)
            read, data = await asyncio.to_thread(_read, opened.fd, offset, count, writer)
            if not read:
                raise Internal("a file became shorter while it was being sent")
            offset += read
            await send(data)
        await send(writer.end())
    finally:
        await opening.__aexit__(None, None, None)


def _read(fd: int, offset: int, count: int, writer: ArchiveWriter) -> tuple[int, bytes]:
    """In a thread: compressing a MiB takes 30 ms."""
    data = os.pread(fd, count, offset)
    return len(data), writer.content(data)

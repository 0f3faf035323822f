"""Uploads and downloads of files and tars. Paths are checked as little as the original checks them."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import stat
import tarfile
import uuid
from pathlib import Path, PurePath
from typing import Any

from prpc_v0.calls import IncomingCall
from prpc_v0.link import Link
from prpc_v0.messages import ISTREAM, OSTREAM

from agent_v0.jobs import Jobs

CHUNK_BYTES = 64 * 1024
LARGEST_CHUNK_BYTES = 1024 * 1024


class Files:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def file_upload(
        self, link: Link, call: IncomingCall, job_uid: str, filename: str, executable: bool = False
    ) -> int:
        assert call.call_type == OSTREAM
        target = self._path(job_uid, filename)
        size = await _receive(call, target)
        if executable:
            target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        return size

    async def file_download(
        self,
        link: Link,
        call: IncomingCall,
        job_uid: str,
        filename: str,
        chunk_size: int = CHUNK_BYTES,
        remove: bool = False,
    ) -> int:
        return await _send(call, self._path(job_uid, filename), chunk_size, remove=remove)

    async def archive_upload(self, link: Link, call: IncomingCall, job_uid: str) -> int:
        assert call.call_type == OSTREAM
        sandbox = self._jobs.find(job_uid).sandbox
        archive = self._jobs.directory / f"upload_{uuid.uuid4().hex}"
        try:
            size = await _receive(call, archive)
            await asyncio.to_thread(_unpack, archive, sandbox)
        finally:
            archive.unlink(missing_ok=True)
        return size

    async def archive_download(
        self,
        link: Link,
        call: IncomingCall,
        job_uid: str,
        include_mask: str | None = None,
        exclude_mask: str | None = None,
        compress: bool = False,
        chunk_size: int = CHUNK_BYTES,
    ) -> int:
        sandbox = self._jobs.find(job_uid).sandbox
        archive = self._jobs.directory / f"download_{uuid.uuid4().hex}"
        try:
            await asyncio.to_thread(_pack, archive, sandbox, include_mask, exclude_mask, compress)
            return await _send(call, archive, chunk_size, remove=True)
        finally:
            archive.unlink(missing_ok=True)

    def _path(self, job_uid: str, filename: str) -> Path:
        if PurePath(filename).is_absolute():
            raise ValueError("file path must be relative")
        return self._jobs.find(job_uid).sandbox / filename


async def _receive(call: IncomingCall, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        async for chunk in call.open_stream():
            file.write(chunk)
        return file.tell()


async def _send(call: IncomingCall, path: Path, chunk_size: int, *, remove: bool) -> int:
    assert call.call_type == ISTREAM
    assert chunk_size > 0
    stream = call.open_stream()
    with path.open("rb") as file:
        await stream.send({"size": os.fstat(file.fileno()).st_size})
        while chunk := file.read(min(chunk_size, LARGEST_CHUNK_BYTES)):
            await stream.send(chunk)
        size = file.tell()
    if remove:
        path.unlink()
    return size


def _pack(archive: Path, root: Path, include: str | None, exclude: str | None, compress: bool) -> None:
    """In the form that Python 3.7 wrote; masks are of the whole relative path, so that * crosses /."""

    def wanted(name: str) -> bool:
        return not (include and not fnmatch.fnmatch(name, include)) and not (exclude and fnmatch.fnmatch(name, exclude))

    with tarfile.open(archive, "x:gz" if compress else "x", format=tarfile.GNU_FORMAT) as tar:
        for base, directories, files in os.walk(root):
            for each in (*directories, *files):
                name = os.path.relpath(os.path.join(base, each), root)
                if wanted(name):
                    tar.add(os.path.join(base, each), arcname=name, recursive=False)


def _unpack(archive: Path, root: Path) -> None:
    """Files and directories alone; anything else in a tar is passed over."""
    try:
        tar = tarfile.open(archive)  # noqa: SIM115
    except tarfile.ReadError:
        raise tarfile.ReadError("file could not be opened successfully") from None
    with tar:
        for member in tar:
            if os.path.isabs(member.name):
                raise ValueError("absolute paths found in archive")
            target = root / member.name
            content: Any = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
                os.utime(target, (member.mtime, member.mtime))
                target.chmod(member.mode)
            elif member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                os.utime(target, (member.mtime, member.mtime))

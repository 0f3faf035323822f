"""Files and archives of an original's jobs, at the paths of an agent's own service."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from prouter.core.agents.originals.alongside import alongside
from prouter.core.agents.originals.pacing import PacedSender
from prouter.core.agents.originals.requests import Answer, Body
from prouter.core.agents.originals.spill import Spill, SpillLimits, spilled
from prouter.errors import (
    FileMissing,
    InvalidRequest,
    NotPossible,
    PeerBusy,
    RemoteError,
    RemoteProtocolError,
)
from prouter.model import query
from prouter.model.ids import JobUid
from prouter.rpc.calls import Call
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType

_FILE = re.compile(r"/jobs/([^/]+)/file/(.*)", re.DOTALL)
_ARCHIVE = re.compile(r"/jobs/([^/]+)/archive")
CONDITIONS = ("If-Match", "If-Unmodified-Since", "Content-Range")
"""Headers that must not be passed over in silence: an original can not keep what they promise."""
CALLERS_FAULT = frozenset(("ValueError", "IsADirectoryError", "NotADirectoryError", "ReadError"))
"""What an original names the errors of a path or an archive that is none."""


async def serve(link: Link, request: web.BaseRequest, limits: SpillLimits) -> web.StreamResponse:
    """The answer. Raises NotPossible for what an original has no word for, FileMissing, InvalidRequest, PeerBusy."""
    path = request.raw_path.partition("?")[0]
    known = request.method in ("GET", "POST", "PUT") and not any(name in request.headers for name in CONDITIONS)
    if known:
        if found := _FILE.fullmatch(path):
            job, name = JobUid(found[1]), _name(found[2])
            if request.method == "GET":
                removing = {"remove": _on(request, "remove")}
                return await _download(link, request, ("file_download", (job, name), removing), limits)
            return await _upload(
                link, request, ("file_upload", (job, name), {"executable": _on(request, "executable")})
            )
        if (found := _ARCHIVE.fullmatch(path)) and request.method != "PUT":
            job = JobUid(found[1])
            if request.method == "GET":
                return await _download(link, request, ("archive_download", (job,), _masks(request)), limits)
            return await _upload(link, request, ("archive_upload", (job,), {}))
    raise NotPossible(
        "this agent speaks the original protocol only, which has files up and down and archives up and down, "
        "without ranges and conditions, and nothing else of this"
    )


Asked = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A method with its arguments."""


async def _download(link: Link, request: web.BaseRequest, asked: Asked, limits: SpillLimits) -> web.StreamResponse:
    method, args, switches = asked
    with _named_errors():
        async with link.open(CallType.ISTREAM, method, *args, **switches) as call, spilled(call, limits) as stream:
            size = _size(await stream.receive())
            response = Answer(200, [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
            await response.prepare(request)
            await _copy(stream, response, size)
            await response.write_eof()
            return response


async def _copy(stream: Spill, response: web.StreamResponse, size: int) -> None:
    """Raises RemoteProtocolError when it is not as long as was said, which cuts the answer."""
    passed = 0
    async for chunk in stream.values():
        if not isinstance(chunk, bytes):
            raise RemoteProtocolError("the agent sent a chunk that is none")
        passed += len(chunk)
        if passed > size:
            break
        await response.write(chunk)
    if passed != size:
        raise RemoteProtocolError(f"the agent announced {size} bytes and sent {passed}")


async def _upload(link: Link, request: web.BaseRequest, asked: Asked) -> web.Response:
    body = Body(request)
    with _named_errors():
        try:
            answer = await _send(link, asked, body)
        except PeerBusy:
            if not body.repeatable:
                raise
            answer = await _send(link, asked, body)  # a file is replaced whole: twice is as good as once
    return web.json_response(answer)


async def _send(link: Link, asked: Asked, body: Body) -> dict[str, Any]:
    method, args, switches = asked
    digest = hashlib.sha256()
    sent = 0
    async with link.open(CallType.OSTREAM, method, *args, **switches) as call:
        async with alongside(_failure(call), f"answer of {call.method}"):
            sender = PacedSender(link, call)
            async for chunk in body.chunks():
                digest.update(chunk)
                sent += len(chunk)
                await sender.send_cut(chunk)
            await call.close_send()
        size = await call.result()
    if size != sent:
        raise RemoteProtocolError(f"the agent has {size} bytes of {sent}")
    return {"size": sent, "sha256": digest.hexdigest()} if method == "file_upload" else {"entries": None, "bytes": sent}


async def _failure(call: Call) -> None:
    """Raises the call's error as soon as it comes: the rest of a long body need not be sent then."""
    await call.result()


def _masks(request: web.BaseRequest) -> dict[str, Any]:
    if request.query.get("path") or request.query.get("format", "tar") != "tar":
        raise NotPossible("an original agent packs the whole sandbox, as a tar")
    return {
        "include_mask": request.query.get("include"),
        "exclude_mask": request.query.get("exclude"),
        "compress": _on(request, "compress"),
    }


def _on(request: web.BaseRequest, name: str) -> bool:
    """The router has read it by the same words, and in any case not another value of it than this."""
    return query.switch(query.read(request.query_string, {name: query.SWITCH}), name)


def _name(raw: str) -> str:
    try:
        return unquote(raw, errors="strict")
    except ValueError as error:
        raise NotPossible("an original agent takes file names in UTF-8 only") from error


def _size(first: Any) -> int:
    size = first.get("size") if isinstance(first, dict) else None
    if type(size) is not int or size < 0:
        raise RemoteProtocolError("the agent did not say how much it sends")
    return size


@contextmanager
def _named_errors() -> Iterator[None]:
    """An original's errors by their names: whose fault it was. Paths of the agent's machine stay there."""
    try:
        yield
    except FileMissing as error:
        raise FileMissing("file not found in the job's sandbox") from error
    except RemoteError as error:
        if error.cause not in CALLERS_FAULT:
            raise
        what = {"IsADirectoryError": "it is a directory", "NotADirectoryError": "a part of the path is a file"}
        raise InvalidRequest(f"Invalid request: {what.get(error.cause, error.detail)}") from error

"""A proxied request as an original's `http_request`.

The agent decompresses answers, drops Content-Encoding and sends the job's Content-Length along: no length of a body
goes on from here, the answer is chunked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from prouter.core.agents.originals.pacing import PacedSender
from prouter.core.agents.originals.requests import Answer, Body, header_pairs, split_target
from prouter.core.agents.originals.spill import Spill, SpillLimits, spilled
from prouter.errors import PeerBusy, PortNotFound, ProuterError, RemoteError, RemoteProtocolError, UpstreamFailed
from prouter.model.ids import JobUid
from prouter.rpc.calls import Call
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType

REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
"""Asked twice, they do what they do once (RFC 9110 9.2.2)."""
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "proxy-connection")
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_VALUE = re.compile(r"[\0-\x08\n-\x1f\x7f]")
"""RFC 9110 5.5: what would begin another header, or end it, and every other control character but the tab."""
NO_SERVER = "job does not contain a running server"
"""An original's words for a job without a port."""


async def forward(link: Link, job: JobUid, request: web.BaseRequest, limits: SpillLimits) -> web.StreamResponse:
    """The job's answer. Raises PortNotFound, UpstreamFailed, PeerBusy, LinkClosed; behind the head they are a cut."""
    path, query = split_target(request.raw_path)
    headers = header_pairs(request, HOP_BY_HOP | {"accept-encoding"})
    headers.append(["Accept-Encoding", "identity"])  # the agent would only decompress it
    if not request.body_exists and "Content-Length" not in request.headers:
        headers.append(["Content-Length", "0"])  # else the agent sends an empty chunked body with a GET
    body = Body(request)
    arguments = (job, request.method, path, query, headers)
    try:
        async with _asked(link, arguments, body, limits) as (status, answer_headers, answer):
            return await _pass_on(request, status, answer_headers, answer)
    except PeerBusy:
        if request.method not in REPEATABLE or not body.repeatable:
            raise
    async with _asked(link, arguments, body, limits) as (status, answer_headers, answer):
        return await _pass_on(request, status, answer_headers, answer)


@asynccontextmanager
async def _asked(
    link: Link, arguments: tuple[Any, ...], body: Body, limits: SpillLimits
) -> AsyncIterator[tuple[int, list[tuple[str, str]], Spill]]:
    """Status, headers and the stream of the answer's body."""
    async with link.open(CallType.BISTREAM, "http_request", *arguments) as call, spilled(call, limits) as answer:
        sending = asyncio.get_running_loop().create_task(_send(link, call, body), name="body of http_request")
        try:
            try:
                status, headers = await answer.receive(), await answer.receive()
            except RemoteError as error:
                raise _explained(error) from error
            yield *_checked(status, headers), answer
        finally:
            sending.cancel()
            await asyncio.wait((sending,))
            if not sending.cancelled():
                sending.exception()  # what it was has come as the call's own error, or the client is gone


async def _send(link: Link, call: Call, body: Body) -> None:
    sender = PacedSender(link, call)
    async for chunk in body.chunks():
        await sender.send_cut(chunk)
    await call.send(b"")


def _checked(status: Any, headers: Any) -> tuple[int, list[tuple[str, str]]]:
    if not isinstance(headers, list) or not all(_is_header(pair) for pair in headers):
        raise UpstreamFailed("the job's server answered with a header that is none")
    pairs = [(name, value) for name, value in headers]
    if type(status) is not int or not 200 <= status <= 599:
        raise UpstreamFailed("the job's server answered with a status that is none")
    if status == 502 and not pairs:
        raise UpstreamFailed("the job's server closed the connection without an answer")
    return status, pairs


def _is_header(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(text, str) for text in pair)
        and _NAME.fullmatch(pair[0]) is not None
        and _NO_VALUE.search(pair[1]) is None
    )


async def _pass_on(
    request: web.BaseRequest, status: int, headers: list[tuple[str, str]], answer: Spill
) -> web.StreamResponse:
    empty = request.method == "HEAD" or status in (204, 304)
    drop = HOP_BY_HOP if empty else HOP_BY_HOP | {"content-length"}
    response = Answer(status, [(name, value) for name, value in headers if name.lower() not in drop])
    if not empty:
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for chunk in answer.values():
        if not isinstance(chunk, bytes):
            raise RemoteProtocolError("the agent sent a chunk that is none")
        if chunk and not empty:
            await response.write(chunk)
    await response.write_eof()
    return response


def _explained(error: RemoteError) -> ProuterError:
    if error.cause == "ValueError" and NO_SERVER in error.detail:
        return PortNotFound("the job serves no port: it is not running, or reported none; port not found")
    return error if isinstance(error, PeerBusy) else UpstreamFailed(f"the agent could not ask the job: {error.detail}")

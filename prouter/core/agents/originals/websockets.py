"""A proxied websocket as an original's `ws_connect`: messages both ways, ends without their codes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

from aiohttp import WSCloseCode, WSMsgType, web

from prouter.core.agents.originals.pacing import MAX_MESSAGE_BYTES, PacedSender
from prouter.core.agents.originals.proxy import NO_SERVER
from prouter.core.agents.originals.requests import header_pairs, split_target
from prouter.core.agents.originals.spill import Spill, SpillLimits, spilled
from prouter.errors import PortNotFound, ProuterError, RemoteError, RemoteProtocolError, UpstreamFailed
from prouter.model.ids import JobUid
from prouter.rpc.calls import Call
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType

log = logging.getLogger(__name__)

END_SECONDS = 5.0
"""For the result behind the end of a stream."""
CLOSE_SECONDS = 2.0
"""For the client's close frame behind ours."""
_STATUS = re.compile(r"([1-5][0-9][0-9])\b")


async def bridge(link: Link, job: JobUid, request: web.BaseRequest, limits: SpillLimits) -> web.StreamResponse:
    """The whole websocket. Raises PortNotFound, UpstreamFailed, LinkClosed as long as it is not open."""
    path, query = split_target(request.raw_path)
    headers = header_pairs(request, ("sec-websocket-extensions", "content-length"))
    async with (
        link.open(CallType.BISTREAM, "ws_connect", job, path, query, headers) as call,
        spilled(call, limits) as stream,
    ):
        refused = await _refused(call, stream)
        if refused is not None:
            return refused
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")[0].strip()
        client = web.WebSocketResponse(
            protocols=(offered,) if offered else (),
            timeout=CLOSE_SECONDS,
            autoclose=False,  # the job hears of the end first: the client's connection may go with the answer to it
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES + 1,  # aiohttp takes less than that
        )
        await client.prepare(request)
        await _join(link, call, stream, client)
        return client


async def _refused(call: Call, stream: Spill) -> web.Response | None:
    """None: the job's websocket is open. Otherwise the answer with the job's own status, where it is known."""
    try:
        opened = await stream.receive()
        if opened is True:
            return None
        await call.close_send()
        async with asyncio.timeout(END_SECONDS):
            await call.result()
    except TimeoutError:
        raise UpstreamFailed("the job refused the websocket") from None
    except RemoteError as error:
        if error.cause == "ValueError" and NO_SERVER in error.detail:
            raise PortNotFound("the job serves no port: it is not running, or reported none; port not found") from error
        status = _STATUS.match(error.detail)
        if error.cause == "WSServerHandshakeError" and status is not None and int(status[1]) >= 200:
            return web.Response(status=int(status[1]), text="the job refused the websocket\n")
        raise UpstreamFailed(f"the job refused the websocket: {error.detail}") from error
    raise RemoteProtocolError("the agent neither opened nor refused the websocket")


async def _join(link: Link, call: Call, stream: Spill, client: web.WebSocketResponse) -> None:
    """Until one side ends; the other is told then."""
    over = asyncio.Event()
    from_job = asyncio.get_running_loop().create_task(_to_client(stream, client, over), name="websocket from the job")
    try:
        await _to_job(PacedSender(link, call, careful=True), client)
        with contextlib.suppress(ProuterError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                if not over.is_set():  # an original router says nothing more to who has ended
                    await call.close_send()
                await call.result()
        await client.close()
    except ProuterError:
        await client.close(code=WSCloseCode.INTERNAL_ERROR, message=b"the agent did not take it")
    finally:
        from_job.cancel()
        await asyncio.wait((from_job,))
        if not from_job.cancelled() and (error := from_job.exception()) is not None:
            raise error


async def _to_job(sender: PacedSender, client: web.WebSocketResponse) -> None:
    """Until the client closed, or we did."""
    while True:
        message = await client.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        await sender.send(message.data)


async def _to_client(stream: Spill, client: web.WebSocketResponse, over: asyncio.Event) -> None:
    """Until the job's side ends, by itself where `over` is set then."""
    code = WSCloseCode.OK
    try:
        async for value in stream.values():
            if isinstance(value, str):
                await client.send_str(value)
            elif isinstance(value, bytes):
                await client.send_bytes(value)
            else:
                raise RemoteProtocolError("the agent sent a message that is none")
        over.set()
    except ConnectionError:
        return
    except UnicodeEncodeError:
        log.info("a websocket of an original agent ends: a text of the job is not UTF-8")
        code = WSCloseCode.INTERNAL_ERROR
    except ProuterError as error:
        log.info("a websocket of an original agent ends: %s", error.detail)
        code = WSCloseCode.INTERNAL_ERROR
    with contextlib.suppress(ConnectionError):
        await client.close(code=code)

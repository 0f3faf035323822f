"""A websocket of a job over a call: the first value says whether it is open, then each message is a value."""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from prouter.errors import OriginalError
from prouter.model.plugin import RpcStream
from prouter.model.reached import ReachedPort
from prouter.plugins.original_proxy.upstream import Pairs, sent, session, target

CLOSE_SECONDS = 2.0
"""For the job to answer a close (RFC 6455 7.1.1)."""
OWN = ("accept-encoding", "content-length", "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version")
"""Headers of the client's handshake that are not of ours. A POST wsconnect sends its own Content-Length along."""


async def bridge(stream: RpcStream, port: ReachedPort, path: str, query: Pairs, headers: Pairs) -> None:
    """Until either side closes. Raises OriginalError for a handshake that the job rejects, after the caller closed
    its stream, and for a message that is too large to be passed on."""
    url = target(port, path, query)
    async with session(port) as asking:
        try:
            websocket = await asking.ws_connect(
                url,
                headers=sent(headers, without=OWN),
                max_msg_size=stream.max_bytes,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            await stream.send(False)
            while await stream.receive() is not None:
                pass
            raise _rejected(error, url) from error
        try:
            await stream.send(True)
            await _join(stream, port, websocket)
        finally:
            await websocket.close()


async def _join(stream: RpcStream, port: ReachedPort, websocket: aiohttp.ClientWebSocketResponse) -> None:
    """Only one side closes the stream: the caller did, or we do, once the job has closed."""
    caller = asyncio.create_task(_to_the_job(stream, port, websocket), name="websocket: to the job")
    job = asyncio.create_task(_to_the_caller(stream, port, websocket), name="websocket: to the caller")
    try:
        await asyncio.wait((caller, job), return_when=asyncio.FIRST_COMPLETED)
        closed_by_caller = caller.done() and caller.exception() is None
    finally:
        for task in (caller, job):
            task.cancel()
        ends = await asyncio.gather(caller, job, return_exceptions=True)
    if not closed_by_caller:
        await stream.close()
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, ConnectionError):
            raise end


async def _to_the_job(stream: RpcStream, port: ReachedPort, websocket: aiohttp.ClientWebSocketResponse) -> None:
    while isinstance(message := await stream.receive(), str | bytes):
        port.inward.passed(len(message))
        if isinstance(message, str):
            await websocket.send_str(message)
        else:
            await websocket.send_bytes(message)


async def _to_the_caller(stream: RpcStream, port: ReachedPort, websocket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        message = await websocket.receive()
        if message.type is aiohttp.WSMsgType.ERROR:
            if websocket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                raise OriginalError("ValueError", f"a message of the job has more than {stream.max_bytes} bytes")
            return
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return
        port.outward.passed(len(message.data))
        await stream.send(message.data)


def _rejected(error: Exception, url: URL) -> OriginalError:
    """In the words of the original's library."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return OriginalError("WSServerHandshakeError", f"{error.status}, message={error.message!r}, url={url!r}")
    return OriginalError(type(error).__name__, str(error) or "the job can not be reached")

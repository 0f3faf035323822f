"""http_request and ws_connect: a job's server over a stream, with what aiohttp 3.6 does to headers and bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, istr
from prpc_v0.calls import IncomingCall
from prpc_v0.link import Link
from prpc_v0.messages import BISTREAM
from prpc_v0.streams import Stream
from yarl import URL

from agent_v0.jobs import Jobs

MERGED_MESSAGES = 16
"""What is queued between the two directions of a websocket."""

KNOWN_NAMES = {str(name).lower(): str(name).title() for name in vars(hdrs).values() if isinstance(name, istr)}
"""Names that aiohttp 3.6 spelled its own way when it read an answer: "ETag" becomes "Etag"."""


class WSServerHandshakeError(Exception):
    """Named and worded like aiohttp's of old."""


class Proxy:
    """`reject_waits`: a rejected websocket's result comes only after the caller closed its stream, as recorded."""

    def __init__(self, jobs: Jobs, *, reject_waits: bool = True) -> None:
        self._jobs = jobs
        self._reject_waits = reject_waits

    async def http_request(
        self,
        link: Link,
        call: IncomingCall,
        job_uid: str,
        method: str,
        path: str,
        query: Sequence[Sequence[str]],
        headers: Sequence[Sequence[str]],
    ) -> None:
        assert call.call_type == BISTREAM
        stream = call.open_stream()
        url = self._url(job_uid, path, query)
        chunks: asyncio.Queue[bytes] = asyncio.Queue()
        request = asyncio.create_task(self._forward(method, url, headers, chunks, stream))
        try:
            async for chunk in stream:
                chunks.put_nowait(chunk)
                if not chunk:
                    break
            chunks.put_nowait(b"")
            await request
        finally:
            request.cancel()

    def _url(self, job_uid: str, path: str, query: Sequence[Sequence[str]]) -> URL:
        port = self._jobs.find(job_uid).port
        if port is None:
            raise ValueError("job does not contain a running server")
        url = URL("http://127.0.0.1").with_port(port).with_path(path)
        return url.with_query([(name, value) for name, value in query])

    async def _forward(
        self,
        method: str,
        url: URL,
        headers: Sequence[Sequence[str]],
        chunks: asyncio.Queue[bytes],
        stream: Stream,
    ) -> None:
        async with aiohttp.ClientSession() as session:
            try:
                sent = CIMultiDict((name, value) for name, value in headers)
                sent.popall("Accept-Encoding", None)
                sent.add("Accept-Encoding", "gzip, deflate")
                response = await session.request(method, url, headers=sent, data=_body(chunks))
            except Exception as error:
                print(f"BAD GATEWAY {error!r}", flush=True)
                await stream.send(502)
                await stream.send([])
                return
            async with response:
                await stream.send(response.status)
                await stream.send(_respelled(response))
                while chunk := await response.content.readany():
                    await stream.send(chunk)

    async def ws_connect(
        self,
        link: Link,
        call: IncomingCall,
        job_uid: str,
        path: str,
        query: Sequence[Sequence[str]],
        headers: Sequence[Sequence[str]],
    ) -> None:
        assert call.call_type == BISTREAM
        stream = call.open_stream()
        url = self._url(job_uid, path, query)
        sent = CIMultiDict((name, value) for name, value in headers)
        for own in ("Accept-Encoding", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key"):
            sent.popall(own, None)
        async with aiohttp.ClientSession() as session:
            try:
                websocket = await session.ws_connect(url, headers=sent)
                await stream.send(True)
            except Exception as error:
                await stream.send(False)
                if self._reject_waits:
                    async for _ in stream:
                        pass
                if isinstance(error, aiohttp.WSServerHandshakeError):
                    text = f"{error.status}, message={error.message!r}, url={url!r}"
                    raise WSServerHandshakeError(text) from error
                raise
            await _join(websocket, stream)


async def _join(websocket: aiohttp.ClientWebSocketResponse, stream: Stream) -> None:
    """Both directions through one queue, until either side closes; the close code is lost."""
    merged: asyncio.Queue[tuple[Callable[[Any], Awaitable[None]], Any]] = asyncio.Queue(MERGED_MESSAGES)

    async def to_the_job(data: Any) -> None:
        await (websocket.send_str(data) if isinstance(data, str) else websocket.send_bytes(data))

    async def listen_to_the_job() -> None:
        async for message in websocket:
            await merged.put((stream.send, message.data))
        await merged.put((stream.send, None))

    async def listen_to_the_caller() -> None:
        async for data in stream:
            await merged.put((to_the_job, data))
        await merged.put((to_the_job, None))

    listening = [asyncio.create_task(listen_to_the_job()), asyncio.create_task(listen_to_the_caller())]
    try:
        while True:
            forward, data = await merged.get()
            if data is None or not isinstance(data, str | bytes):
                break
            await forward(data)
    except Exception as error:
        print(f"WEBSOCKET {error!r}", flush=True)
    finally:
        try:
            await websocket.close()
            await stream.close()
        finally:
            for task in listening:
                task.cancel()


async def _body(chunks: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while chunk := await chunks.get():
        yield chunk


def _respelled(response: aiohttp.ClientResponse) -> list[list[str]]:
    """Headers of the answer as the original passes them on: without Content-Encoding, with the job's Content-Length."""
    pairs = [[KNOWN_NAMES.get(name.lower(), name), value] for name, value in response.headers.items()]
    return [pair for pair in pairs if pair[0] != "Content-Encoding"]

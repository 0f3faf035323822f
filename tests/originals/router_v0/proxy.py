"""PATH/http/REST and PATH/wsconnect/REST: a request or a websocket over one call with a stream both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from prpc_v0.calls import CallFailedError, LinkClosedError, OutgoingCall
from prpc_v0.link import Link
from prpc_v0.messages import BISTREAM
from prpc_v0.streams import Stream, StreamClosedError

from router_v0 import checks
from router_v0.links import Links

MERGED_MESSAGES = 32
ERROR_SECONDS = 5.0

T = TypeVar("T")

WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class ProxyApi:
    """`cancels_after_close`: a closed websocket's call is cancelled at once, so that its result crosses the cancel."""

    def __init__(self, links: Links, *, cancels_after_close: bool = False) -> None:
        self._links = links
        self._cancels_after_close = cancels_after_close
        self._open: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/jobs/{link}/{job}/http/{rest:.*}", self._pass_on),
            web.post("/jobs/{link}/{job}/wsconnect/{rest:.*}", self._bridge),
        ]

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        link = self._links.by_id(request.match_info["link"])
        socket = web.WebSocketResponse()
        if socket.can_prepare(request):
            # Its end is in its messages: a client that is gone must not cancel what the close still has to do.
            return await asyncio.shield(self._keep(self._websocket(request, socket, link)))
        return await _http(request, link)

    async def _bridge(self, request: web.Request) -> web.Response:
        body = await request.json()
        link = self._links.by_id(request.match_info["link"])
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keep(self._bridged(link, _place(request), body["url"], opened))
        try:
            await opened
        except CallFailedError as error:
            return web.Response(status=400, text=str(error))
        return web.Response()

    async def close(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _websocket(self, request: web.Request, socket: web.WebSocketResponse, link: Link) -> web.StreamResponse:
        async with link.call(BISTREAM, "ws_connect", _place(request)) as call:
            if not _opened(await _stream_of(call).receive()):
                return await _error_page(call)
            await socket.prepare(request)
            await _join(link, call, socket, cancels=self._cancels_after_close)
            return socket

    async def _bridged(self, link: Link, place: list[Any], url: str, opened: asyncio.Future[None]) -> None:
        try:
            async with link.call(BISTREAM, "ws_connect", place) as call:
                if not _opened(await _stream_of(call).receive()):
                    await link.result_of(call)
                    raise RuntimeError("failed ws_connect call did not raise")
                opened.set_result(None)
                async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
                    await _join(link, call, socket, cancels=self._cancels_after_close)
        except Exception as error:
            if not opened.done():
                opened.set_exception(error)

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task


def _place(request: web.Request) -> list[Any]:
    """What every proxying call begins with, by position; the path is decoded."""
    query = [list(pair) for pair in request.query.items()]
    headers = [list(pair) for pair in request.headers.items()]
    return [request.match_info["job"], "/" + request.match_info["rest"], query, headers]


async def _http(request: web.Request, link: Link) -> web.StreamResponse:
    job, path, query, headers = _place(request)
    async with link.call(BISTREAM, "http_request", [job, request.method, path, query, headers]) as call:
        stream = _stream_of(call)
        answering = asyncio.create_task(_answer(request, call))
        try:
            while not stream.closed:
                chunk = await request.content.readany()
                if stream.closed:
                    break
                await stream.send(chunk)
                if not chunk:
                    break
            return await answering
        finally:
            if not answering.done():
                answering.cancel()


async def _answer(request: web.Request, call: OutgoingCall) -> web.StreamResponse:
    """Status, headers, chunks; without the first two, what the result says."""
    stream, response, came = _stream_of(call), web.StreamResponse(), 0
    async for data in stream:
        if came == 0:
            response.set_status(checks.status(data))
        elif came == 1:
            _set_headers(response, checks.pairs(data))
            await response.prepare(request)
        else:
            await response.write(checks.chunk(data))
        came += 1
    if came < 2:
        return await _error_page(link_result=call)
    if call.result.done() and call.result.exception() is None:
        checks.nothing(call.result.result())
    await response.write_eof()
    return response


def _set_headers(response: web.StreamResponse, pairs: Sequence[tuple[str, str]]) -> None:
    headers = CIMultiDict(pairs)
    for dropped in ("Cache-Control", "Expires", "Content-Encoding"):
        headers.popall(dropped, None)
    chunked = headers.get("Transfer-Encoding", "").lower() == "chunked" or "Content-Length" not in headers
    if chunked:
        headers.popall("Content-Length", None)
        headers.popall("Transfer-Encoding", None)
    response.headers.extend(headers)
    response.enable_compression()
    if chunked:
        response.enable_chunked_encoding()


async def _error_page(link_result: OutgoingCall) -> web.Response:
    """Closes this side's stream, if it is open, and says in text what the agent says."""
    call = link_result
    try:
        stream = _stream_of(call)
        if not call.result.done():
            await stream.close()
        async with asyncio.timeout(ERROR_SECONDS):
            await asyncio.shield(call.result)
    except TimeoutError:
        pass
    except (CallFailedError, LinkClosedError) as error:
        return web.Response(status=502, text=f"Proxy error:\n{error}\n")
    return web.Response(status=502, text="Malformed response from agent.")


def _opened(first: Any) -> bool:
    checks.expect(first is None or isinstance(first, bool), "a websocket begins with true or false", first)
    return bool(first)


async def _join(link: Link, call: OutgoingCall, socket: WebSocket, *, cancels: bool) -> None:
    """Both directions through one queue, until either side closes; then the result."""
    stream = _stream_of(call)
    merged: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue(MERGED_MESSAGES)

    async def to_the_client(data: Any) -> None:
        checks.expect(isinstance(data, str | bytes), "a websocket's message is text or bytes", data)
        await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))

    async def listen_to_the_client() -> None:
        async for message in socket:
            await merged.put((stream.send, message.data))
        await merged.put((stream.send, None))

    async def listen_to_the_job() -> None:
        async for data in stream:
            await merged.put((to_the_client, data))
        await merged.put((to_the_client, None))

    listening = [asyncio.create_task(listen_to_the_client()), asyncio.create_task(listen_to_the_job())]
    try:
        while True:
            forward, data = await merged.get()
            if data is None:
                break
            await forward(data)
    except (ConnectionError, LinkClosedError, StreamClosedError):
        pass
    finally:
        try:
            await socket.close()
            await stream.close()
            if cancels:
                await link.cancel(call, LinkClosedError("call is cancelled by client"))
        finally:
            for task in listening:
                task.cancel()
    try:
        checks.nothing(await asyncio.shield(call.result))
    except (CallFailedError, LinkClosedError):
        pass


def _stream_of(call: OutgoingCall) -> Stream:
    assert call.stream is not None
    return call.stream

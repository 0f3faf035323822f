"""Links over aiohttp's websockets: the channel of messages of connection.py, on the accepting and the dialing side.

Belongs here: subprotocol, pings, the end of a websocket. Does not: what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from prouter.errors import InvalidRequest, LinkClosed, RemoteProtocolError
from prouter.rpc.limits import Limits

logger = logging.getLogger(__name__)

PATH = "/rpc/v1"
SUBPROTOCOL = "v1.prpc.datadvance"
SEND_SECONDS = 30.0
"""A peer that takes nothing for so long is gone, even when it still answers pings."""
CONNECT_SECONDS = 4.0
"""For a TCP connection. Its first packet is sent at 0, 1, 3 and 7 s (RFC 6298): where a line was cut and is there
again, a new try comes sooner than the last of these."""
CLOSE_SECONDS = 2.0
"""For the closing handshake (RFC 6455 7.1.1); then the connection is cut."""
DEAD_AFTER_INTERVALS = 2.5
"""Of silence: one until the ping is sent, the rest for its answer."""
LATE_INTERVALS = 0.5
"""Who wakes so much later than he meant to stood still himself, and has not read yet what came meanwhile."""


class Allowance(Protocol):
    """How much the peer may still send before it has proved who it is."""

    def lift(self) -> None:
        """It has."""


class WebsocketChannel:
    """A MessageChannel on either kind of aiohttp websocket. Only one task receives."""

    def __init__(
        self,
        websocket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        ping_interval_seconds: float,
        allowance: Allowance | None = None,
    ) -> None:
        self._websocket = websocket
        self._interval_seconds = ping_interval_seconds
        self._allowance = allowance
        self._heard_at = asyncio.get_running_loop().time()
        self.fell_silent = False
        self._closing = False
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        """Those of `ping` that are not answered yet, by what they carry."""
        self._ping_count = 0

    @property
    def close_code(self) -> int | None:
        return self._websocket.close_code

    def lift_limit(self) -> None:
        if self._allowance is not None:
            self._allowance.lift()

    async def receive(self) -> bytes | None:
        try:
            data = await self._receive()
        except BaseException:
            self._fail_pings()
            raise
        if data is None:
            self._fail_pings()
        return data

    async def ping(self) -> None:
        self._ping_count += 1
        mark = b"%d" % self._ping_count
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings[mark] = answered
        try:
            if not await self._write(self._websocket.ping(mark)):
                raise LinkClosed("the peer is gone")
            await answered
        finally:
            del self._pings[mark]

    def _fail_pings(self) -> None:
        for answered in self._pings.values():
            if not answered.done():
                answered.set_exception(LinkClosed("the link ended"))

    async def _receive(self) -> bytes | None:
        while True:
            message = await self._websocket.receive()
            self._heard_at = asyncio.get_running_loop().time()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    data: bytes = message.data
                    return data
                case aiohttp.WSMsgType.PING:
                    await self._write(self._websocket.pong(message.data))
                case aiohttp.WSMsgType.PONG:
                    answered = self._pings.get(bytes(message.data))
                    if answered is not None and not answered.done():
                        answered.set_result(None)
                case aiohttp.WSMsgType.TEXT:
                    raise RemoteProtocolError("a text message came; messages are binary")
                case aiohttp.WSMsgType.ERROR:
                    raise RemoteProtocolError(f"the websocket broke: {type(message.data).__name__}")
                case _:
                    return None

    async def send(self, data: bytes) -> None:
        if not await self._write(self._websocket.send_bytes(data)):
            raise LinkClosed("the peer is gone")

    async def close(self, code: int) -> None:
        if self._closing:
            return
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS + 1):
                await self._websocket.close(code=code)
        except asyncio.CancelledError:
            self._cut()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not of ours: aiohttp lets all writers wait for one future, and cancelling one of them cancels that.
        except (TimeoutError, ConnectionError, RuntimeError) as error:
            logger.debug("a websocket could not be closed in order: %s", error)
            self._cut()
        else:
            if self.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
                self._cut()

    def _cut(self) -> None:
        """End the connection, whatever is not written yet: a peer that reads nothing would keep it open for ever."""

    async def keep_alive(self) -> None:
        loop, interval = asyncio.get_running_loop(), self._interval_seconds
        pinged_at = self._heard_at
        excused_at = 0.0
        while not self._websocket.closed:
            dead_at = self._heard_at + DEAD_AFTER_INTERVALS * interval
            ping_at = max(self._heard_at, pinged_at) + interval
            due = min(dead_at, ping_at)
            await asyncio.sleep(max(0.0, due - loop.time()))
            now = loop.time()
            if now > due + LATE_INTERVALS * interval and self._heard_at not in (excused_at, now):
                self._heard_at = excused_at = max(self._heard_at, now - interval)  # once, until something comes
            if now >= self._heard_at + DEAD_AFTER_INTERVALS * interval:
                logger.warning("nothing came over a link for %.1f s, it is closed", now - self._heard_at)
                self.fell_silent = True
                await self.close(aiohttp.WSCloseCode.PROTOCOL_ERROR)
                return
            if now >= max(self._heard_at, pinged_at) + interval:
                pinged_at = now
                left = self._heard_at + DEAD_AFTER_INTERVALS * interval - now
                await self._write(self._websocket.ping(), min(left, SEND_SECONDS))

    async def _write(self, writing: Awaitable[None], seconds: float = SEND_SECONDS) -> bool:
        """Whether it was written in time."""
        try:
            async with asyncio.timeout(seconds):
                await writing
        except (TimeoutError, ConnectionError, RuntimeError):
            return False
        return True


class AcceptedChannel(WebsocketChannel):
    """The accepting side; `response` is what the request's handler returns."""

    def __init__(
        self,
        response: web.WebSocketResponse,
        ping_interval_seconds: float,
        allowance: Allowance,
        transport: asyncio.Transport | None,
    ) -> None:
        super().__init__(response, ping_interval_seconds, allowance)
        self.response = response
        self._transport = transport

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Dialed(aiohttp.ClientWebSocketResponse):
    """Knows the connection that it came from: where the peer went first, aiohttp never gives it back."""

    def __init__(self, reader: Any, writer: Any, protocol: Any, response: Any, *more: Any, **named: Any) -> None:
        super().__init__(reader, writer, protocol, response, *more, **named)
        self._came_from = response

    def give_back(self) -> None:
        self._came_from.close()


class DialedChannel(WebsocketChannel):
    """The dialing side; it owns the session that dialed."""

    def __init__(
        self,
        websocket: aiohttp.ClientWebSocketResponse,
        ping_interval_seconds: float,
        session: aiohttp.ClientSession,
    ) -> None:
        super().__init__(websocket, ping_interval_seconds)
        self._session = session
        self._dialed = websocket
        own = websocket.get_extra_info("socket")
        # A descriptor of ours: what uvloop shows can not be shut down, and its number may be somebody else's soon.
        open_ = own is not None and own.fileno() >= 0
        self._socket = socket.socket(fileno=os.dup(own.fileno())) if open_ else None

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # closed already
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    async def close(self, code: int) -> None:
        try:
            await super().close(code)
        finally:
            if self._socket is not None:
                self._socket.close()
            if isinstance(self._dialed, _Dialed):
                self._dialed.give_back()
            await self._session.close()


async def accept(request: web.BaseRequest, *, ping_interval_seconds: float, allowance: Allowance) -> AcceptedChannel:
    """The websocket that a request asks for. Raises InvalidRequest when it is none, or for another protocol."""
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if SUBPROTOCOL not in offered:
        raise InvalidRequest(f"Invalid request: links speak the websocket subprotocol {SUBPROTOCOL}")
    response = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        autoping=False,
        protocols=(SUBPROTOCOL,),
        compress=False,
        max_msg_size=Limits().stream_bytes,
    )
    try:
        await response.prepare(request)
    except (web.HTTPException, ValueError) as error:  # aiohttp looks at some headers as if they were ASCII
        raise InvalidRequest("Invalid request: this is no websocket handshake") from error
    return AcceptedChannel(response, ping_interval_seconds, allowance, request.transport)


async def dial(host: str, port: int, *, ping_interval_seconds: float) -> DialedChannel:
    """A websocket to a peer's agent endpoint. The deadline is the caller's. Raises LinkClosed."""
    shown = f"[{host}]" if ":" in host else host
    session = aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent",),
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS),
        ws_response_class=_Dialed,
    )
    try:
        websocket = await session.ws_connect(
            f"http://{shown}:{port}{PATH}",
            protocols=(SUBPROTOCOL,),
            autoping=False,
            compress=0,
            max_msg_size=Limits().stream_bytes,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
        )
    except BaseException as error:
        await session.close()
        if isinstance(error, aiohttp.WSServerHandshakeError):
            raise LinkClosed(f"{host}:{port} refused a link: HTTP status {error.status}") from error
        if isinstance(error, aiohttp.ClientError | OSError | ValueError | AssertionError):
            # aiohttp asserts that the connection is still there, which may have been reset by now
            raise LinkClosed(f"{host}:{port} can not be reached: {_why(error)}") from error
        raise
    channel = DialedChannel(websocket, ping_interval_seconds, session)
    if websocket.protocol != SUBPROTOCOL:
        await channel.close(aiohttp.WSCloseCode.PROTOCOL_ERROR)
        raise LinkClosed(f"{host}:{port} does not speak {SUBPROTOCOL}")
    return channel


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or "no connection"
    return str(error) or type(error).__name__

"""Lending one request to aiohttp: a stand-in transport in whose place our own connection is.

aiohttp's written bytes go through the machine that frames a job's answer (pipe/answer.py), so that end, cut and
keep-alive are decided in one place for both. A connection handed over to aiohttp for good would never come back.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from prouter.errors import ProuterError, TooLarge, UpstreamFailed
from prouter.pipe.answer import AnswerReader
from prouter.pipe.upstream import Carrier, pass_on
from prouter.web.outcomes import Incoming, Serve

FIELD_BYTES = 131072
"""aiohttp's own limits are set above ours: a head that came so far is valid."""
FIELDS = 32768
"""Likewise, of lines and trailers together; for what is over it aiohttp waits for ever where it is a trailer."""


class LocalUpstream:
    """An Upstream whose other end is an aiohttp handler."""

    def __init__(self, serve: Serve, incoming: Incoming) -> None:
        self.reader = AnswerReader("GET")
        self._serve = serve
        self._carrier: Carrier | None = None
        self._transport = _StandIn(self, incoming)
        self._running = False
        self._lost = False
        self._leaving = False
        self._paused: set[str] = set()
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            lingering_time=0,
            tcp_keepalive=False,
            keepalive_timeout=0,
            auto_decompress=False,
            max_line_size=FIELD_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
        )
        self._protocol = server()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._running = True
        try:
            return await self._serve.handler(request)
        finally:
            self._running = False
            if self._leaving:
                self._lose()

    # --- the exchange asks (Upstream) ---

    def begin(self, carrier: Carrier, head: bytes, method: str, *, plain: bool = False) -> None:
        self.reader = AnswerReader(method, plain=plain)
        self._carrier = carrier
        self._protocol.connection_made(self._transport)
        self._protocol.data_received(head)

    def write(self, data: bytes) -> None:
        allowance = self._serve.allowance
        if allowance is not None and not allowance.spend(len(data)):
            self._fail(TooLarge("more was sent than is taken before the handshake"))
        elif not self._lost:
            self._protocol.data_received(data)

    def write_eof(self) -> None:
        self._lose()  # a websocket's peer that closes half of its connection is gone

    def tunnel(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def pause_reading(self, reason: str) -> None:
        if not self._paused and not self._lost:
            self._protocol.pause_writing()
        self._paused.add(reason)

    def resume_reading(self, reason: str) -> None:
        if reason in self._paused:
            self._paused.discard(reason)
            if not self._paused and not self._lost:
                self._protocol.resume_writing()

    def release(self, *, in_step: bool) -> None:
        """What a handler does behind its answer's end may go on to its end."""
        self._carrier = None
        self._leaving = True
        if not self._running:
            self._lose()

    def abort(self) -> None:
        self._carrier = None
        self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def _fail(self, error: ProuterError) -> None:
        carrier, self._carrier = self._carrier, None
        self._lose()
        if carrier is not None:
            carrier.failed(error, untouched=False)

    # --- aiohttp writes ---

    def take(self, data: bytes) -> None:
        carrier = self._carrier
        if carrier is None or not data:
            return
        try:
            pass_on(self.reader, data, carrier, lambda: self._carrier is carrier)
        except UpstreamFailed as error:
            self._fail(error)

    def ended(self) -> None:
        """aiohttp closed the connection."""
        carrier = self._carrier
        if carrier is None:
            return
        if self.reader.end_of_stream():
            carrier.finished()
        else:
            self._fail(UpstreamFailed("the answer broke off"))

    def broke_off(self) -> None:
        """The handler gave up its client."""
        self._fail(UpstreamFailed("the answer broke off"))

    def hold_body(self) -> None:
        if self._carrier is not None:
            self._carrier.body_pause()

    def go_on_with_body(self) -> None:
        if self._carrier is not None:
            self._carrier.body_resume()


class _StandIn(asyncio.Transport):
    """The transport that aiohttp sees."""

    def __init__(self, upstream: LocalUpstream, incoming: Incoming) -> None:
        super().__init__({"peername": (incoming.peer.host, incoming.peer.port)})
        self._upstream = upstream
        self._closing = False
        self._reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._upstream.take(bytes(data))

    def writelines(self, chunks: Any) -> None:
        self.write(b"".join(chunks))

    def write_eof(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._upstream.ended()

    def abort(self) -> None:
        """What is not written by now never is; also behind a close whose bytes nobody takes."""
        self._closing = True
        self._upstream.broke_off()

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._upstream.hold_body()

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._upstream.go_on_with_body()

    def get_write_buffer_size(self) -> int:
        return 0

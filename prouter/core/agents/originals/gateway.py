"""The agent's end of a pipe for an agent that has no pipes, inside the router: bind line and HTTP in, v1 calls out.

So everything that takes a pipe (the relay, bridges, file routes) works with an original as it is. The two ends are
joined by a pair of sockets; the kernel does the flow control between them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod

from prouter.core.agents.link import AgentLink
from prouter.core.agents.originals import proxy, transfer, websockets
from prouter.core.agents.originals.lingering import LingeringTransport
from prouter.core.agents.originals.spill import SpillLimits
from prouter.errors import Internal, LinkClosed, NotPossible, ProuterError, RemoteProtocolError
from prouter.http1.request import HeadLimits
from prouter.model import unexpected
from prouter.model.ids import JobUid, new_uid
from prouter.pipe.asking import Place
from prouter.pipe.bind import MAX_LINE_BYTES, OK, Binding, BindRefused, JobBinding, parse_binding
from prouter.web.problem import problem
from prouter.web.serve import begun, response

log = logging.getLogger(__name__)

READ_BYTES = 512 * 1024
"""Of a request's body that is not sent on yet: what is there goes as few large messages."""
CLOSE_SECONDS = 1.0


class Gateway:
    """A PipeSource over one original's link."""

    def __init__(self, link: AgentLink, limits: SpillLimits) -> None:
        self._link = link
        self._limits = limits
        self._servers: set[_Server] = set()

    async def __call__(self, count: int, place: Place) -> None:
        loop = asyncio.get_running_loop()
        try:
            for _ in range(count):
                near, far = socket.socketpair()
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
                await loop.connect_accepted_socket(lambda: _Unbound(self), sock=far)
                transport.pause_reading()
                place(transport, b"")
        except OSError as error:
            raise LinkClosed(f"no pipe could be made: {error.strerror}") from error

    def bound(self, binding: Binding, transport: asyncio.Transport, leftover: bytes) -> None:
        """A pipe's first line came: from here on it is HTTP."""
        server = _Server(self, binding)
        self._servers.add(server)
        protocol = server()
        transport.write(OK)
        transport.set_protocol(protocol)
        protocol.connection_made(LingeringTransport(transport))
        if leftover:
            protocol.data_received(leftover)

    def gone(self, server: _Server) -> None:
        self._servers.discard(server)

    async def close(self) -> None:
        """The link ended: what is under way ends, as a cut where it had begun."""
        await asyncio.gather(*(server.shutdown(CLOSE_SECONDS) for server in tuple(self._servers)))

    async def handle(self, binding: Binding, request: web.BaseRequest) -> web.StreamResponse:
        """One request on a bound pipe."""
        request_id = request.headers.get("X-Request-Id") or new_uid()
        try:
            if isinstance(binding, JobBinding):
                ask = websockets.bridge if _is_websocket(request) else proxy.forward
                return await ask(self._link.rpc, JobUid(binding.job), request, self._limits)
            return await transfer.serve(self._link.rpc, request, self._limits)
        except ProuterError as error:
            return _ended(request, error, request_id)
        except Exception as error:
            log.exception("request %s to original agent %s failed", request_id, self._link.name)
            unexpected.tell(error, f"request {request_id} to an original agent")
            return _ended(request, Internal(), request_id)


class _Requests(web.RequestHandler):
    """Of one bound pipe. What comes was strictly parsed by the acceptor: what aiohttp does not take is a verb that it
    does not know, and so would not send from an agent."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, BadHttpMethod):
            return super().handle_error(request, status, exc, message)
        error = NotPossible("a job of an original agent is asked by the registered verbs of HTTP only")
        answer = response(problem(error, new_uid()))
        answer.force_close()
        return answer


class _Server(web.Server):
    """aiohttp's side of one bound pipe."""

    def __init__(self, gateway: Gateway, binding: Binding) -> None:
        limit = HeadLimits().head_bytes * 2

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await gateway.handle(binding, request)

        super().__init__(handle, handler_cancellation=True)
        self._gateway = gateway
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "read_bufsize": READ_BYTES,
            "max_line_size": limit,
            "max_field_size": limit,
            "max_headers": limit,
            "lingering_time": 0,
        }

    def __call__(self) -> web.RequestHandler:
        return _Requests(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._gateway.gone(self)


class _Unbound(asyncio.Protocol):
    """Waits for the bind line."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        line, newline, rest = bytes(self._received).partition(b"\n")
        if not newline and len(self._received) <= MAX_LINE_BYTES:
            return
        try:
            binding = parse_binding(line)
        except RemoteProtocolError as error:
            self._transport.write(BindRefused(404, error.detail).line())
            self._transport.close()
            return
        self._gateway.bound(binding, self._transport, rest)


def _is_websocket(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _ended(request: web.BaseRequest, error: ProuterError, request_id: str) -> web.StreamResponse:
    """The error as an answer; once an answer has begun, a cut."""
    if begun(request):
        log.info("the answer to request %s breaks off: %s", request_id, error.detail)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # finds the connection closed
    return response(problem(error, request_id))

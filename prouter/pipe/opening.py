"""Opening a pipe: the request that asks for one, and waiting for the peer to switch, over plain TCP or as a websocket.

Called by dialing.py. The accepting side's acceptor answers (web/link_door.py): 101, or 404 for a ticket that is bad,
used or late. What stands between the two may answer anything.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl as ssl_module
from typing import cast

from prouter.errors import LinkClosed, RemoteProtocolError
from prouter.pipe.unsent import hold_little_below
from prouter.pipe.websocket import SUBPROTOCOL, WebsocketTransport, accept_value

PATH = "/pipe/v1"
UPGRADE = "prouter-pipe/1"
MAX_ANSWER_BYTES = 8192


def opening_request(host: str, port: int, ticket: str) -> bytes:
    """The request that asks for a pipe."""
    return _request(host, port, ticket, (f"Upgrade: {UPGRADE}",))


def websocket_request(host: str, port: int, ticket: str, key: str) -> bytes:
    """The same for a pipe that is a websocket (RFC 6455 4.1); `key` is random."""
    lines = (
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    )
    return _request(host, port, ticket, lines)


def _request(host: str, port: int, ticket: str, lines: tuple[str, ...]) -> bytes:
    shown = f"[{host}]" if ":" in host else host
    head = (f"GET {PATH} HTTP/1.1", f"Host: {shown}:{port}", "Connection: Upgrade", *lines)
    return "\r\n".join((*head, f"Authorization: Ticket {ticket}", "", "")).encode("ascii")


async def open_pipe(
    host: str, port: int, ticket: str, *, deadline_seconds: float = 10.0, ssl: ssl_module.SSLContext | None = None
) -> tuple[asyncio.Transport, bytes]:
    """A pipe that nobody has bound yet: its transport, reading paused, and what came behind the 101.

    The caller owns the transport from here and gives it a protocol (`set_protocol`). Raises LinkClosed when it can not
    connect, RemoteProtocolError when the answer is something else than our 101, or does not come in time.
    """
    wanted = {"upgrade": UPGRADE}
    return await _open(host, port, opening_request(host, port, ticket), wanted, deadline_seconds, ssl)


async def open_websocket_pipe(
    host: str, port: int, ticket: str, *, deadline_seconds: float = 10.0, ssl: ssl_module.SSLContext | None = None
) -> tuple[asyncio.Transport, bytes]:
    """The same through a websocket: what stands on the way lets nothing else pass."""
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    wanted = {
        "upgrade": "websocket",
        "sec-websocket-accept": accept_value(key),
        "sec-websocket-protocol": SUBPROTOCOL,
        "sec-websocket-extensions": "",
    }
    request = websocket_request(host, port, ticket, key)
    raw, leftover = await _open(host, port, request, wanted, deadline_seconds, ssl)
    transport = WebsocketTransport(raw, dialed=True)
    return transport, transport.early(leftover)


async def _open(
    host: str,
    port: int,
    request: bytes,
    wanted: dict[str, str],
    deadline_seconds: float,
    ssl: ssl_module.SSLContext | None,
) -> tuple[asyncio.Transport, bytes]:
    loop = asyncio.get_running_loop()
    protocol = _Opening(loop, wanted)
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(deadline_seconds):
            transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=ssl)
            hold_little_below(transport.get_extra_info("socket"))
            transport.write(request)
            return transport, await protocol.answered
    except BaseException as error:
        if transport is not None:
            transport.abort()
            if isinstance(error, TimeoutError):
                raise RemoteProtocolError(f"{host}:{port} did not answer in time to who asked for a pipe") from error
        if isinstance(error, OSError):  # TimeoutError is one
            raise LinkClosed(
                f"no pipe could be opened to {host}:{port}: {error.strerror or 'no answer in time'}"
            ) from error
        raise


class _Opening(asyncio.Protocol):
    """Collects the answer's head; pauses reading as soon as it is whole, so that no byte behind it is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wanted: dict[str, str]) -> None:
        self.answered: asyncio.Future[bytes] = loop.create_future()
        self._wanted = wanted
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if self.answered.done() or (end < 0 and len(self._received) <= MAX_ANSWER_BYTES):
            return
        why = self._wrong(bytes(self._received[:end])) if end >= 0 else "no head of an answer"
        if why:
            self.answered.set_exception(RemoteProtocolError(f"a pipe was refused: {why}"))
            return
        if self._transport is not None:
            self._transport.pause_reading()
        self.answered.set_result(bytes(self._received[end + 4 :]))

    def _wrong(self, head: bytes) -> str:
        """What is wrong with the answer; empty: nothing."""
        status, *lines = head.decode("latin-1").split("\r\n")
        if not status.startswith("HTTP/1.1 101"):
            return repr(status[:60])
        found = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        for name, value in self._wanted.items():
            sent = found.get(name, "")
            if (sent.lower() if name == "upgrade" else sent) != value:
                return f"101 with {name} {sent[:60]!r}"
        return ""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(RemoteProtocolError("the peer closed a pipe before it was open"))
            self.answered.exception()  # seen: the dialer may have given up already

"""Dialing a pipe: the opening request, and waiting for the peer to switch.

Called by the side that dialed the control link: the agent when the router asked for pipes, or the router.
The accepting side's acceptor answers (web/): 101, or 404 for a ticket that is bad, used or late.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from typing import cast

from prouter.errors import LinkClosed, RemoteProtocolError

PATH = "/pipe/v1"
UPGRADE = "prouter-pipe/1"
MAX_ANSWER_BYTES = 8192


def opening_request(host: str, port: int, ticket: str) -> bytes:
    """The request that asks for a pipe."""
    shown = f"[{host}]" if ":" in host else host
    return (
        f"GET {PATH} HTTP/1.1\r\nHost: {shown}:{port}\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n"
        f"Authorization: Ticket {ticket}\r\n\r\n"
    ).encode("ascii")


async def open_pipe(
    host: str, port: int, ticket: str, *, deadline_seconds: float = 10.0, ssl: ssl_module.SSLContext | None = None
) -> tuple[asyncio.Transport, bytes]:
    """A pipe that nobody has bound yet: its transport, reading paused, and what came behind the 101.

    The caller owns the transport from here and gives it a protocol (`set_protocol`). Raises LinkClosed when nothing
    answers in time, RemoteProtocolError when the answer is not 101.
    """
    loop = asyncio.get_running_loop()
    protocol = _Opening(loop)
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(deadline_seconds):
            transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=ssl)
            transport.write(opening_request(host, port, ticket))
            return transport, await protocol.answered
    except BaseException as error:
        if transport is not None:
            transport.abort()
        if isinstance(error, OSError):  # TimeoutError is one
            raise LinkClosed(
                f"no pipe could be opened to {host}:{port}: {error.strerror or 'no answer in time'}"
            ) from error
        raise


class _Opening(asyncio.Protocol):
    """Collects the answer's head; pauses reading as soon as it is whole, so that no byte behind it is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[bytes] = loop.create_future()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if self.answered.done() or (end < 0 and len(self._received) <= MAX_ANSWER_BYTES):
            return
        if not self._received.startswith(b"HTTP/1.1 101 ") or end < 0:
            status = bytes(self._received[:12]).decode("latin-1")
            self.answered.set_exception(RemoteProtocolError(f"a pipe was refused: {status!r}"))
            return
        if self._transport is not None:
            self._transport.pause_reading()
        self.answered.set_result(bytes(self._received[end + 4 :]))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(LinkClosed("the peer closed a pipe before it was open"))
            self.answered.exception()  # seen: the dialer may have given up already

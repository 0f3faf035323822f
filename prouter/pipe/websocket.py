"""A pipe that is a websocket of its own, as a transport like any other: binary messages are bytes, close 1000 is FIN.

Belongs here: frames in and out, what the ends mean, pings so that nobody on the way takes a quiet pipe for a dead one.
Does not: the handshake (opening.py, web/link_door.py), and what is done with the bytes. Messages mean nothing: their
bytes are passed on as they come, in whatever frames.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from prouter.errors import RemoteProtocolError
from prouter.pipe.frames import BINARY, CLOSE, PING, PONG, FrameReader, FrameWriter
from prouter.pipe.reset import reset

SUBPROTOCOL = "v1.pipe.prouter"
PING_SECONDS = 20.0
"""Of silence; nginx's and most load balancers' limit is 60."""
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN = struct.pack("!H", 1000)


def accept_value(key: str) -> str:
    """The answer to a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode("ascii"), usedforsecurity=False).digest()).decode("ascii")


def over(transport: asyncio.BaseTransport) -> str:
    """What a pipe is, as /connections shows it: tcp or websocket."""
    return "websocket" if transport.get_extra_info("websocket") else "tcp"


class WebsocketTransport(asyncio.Transport):
    """Made on a connection that has just switched, reading paused. `dialed`: by us, so that we mask, and ping.

    What is always true: the protocol is told of bytes, the end and the loss in this order, of the first two only while
    it reads; `connection_lost` comes once, with an error when the pipe ended by anything else than close 1000.
    """

    def __init__(self, raw: asyncio.Transport, *, dialed: bool) -> None:
        super().__init__()
        self._raw = raw
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._reader = FrameReader(masked=not dialed)
        self._writer = FrameWriter(masks=dialed)
        self._paused = True
        self._ended = False
        """Close 1000 came."""
        self._told_end = False
        self._fin_sent = False
        self._closing = False
        self._broken: Exception | None = None
        self._lost = False
        self._moved_at = self._loop.time()
        self._pinger: asyncio.TimerHandle | None = None
        if dialed:
            self._pinger = self._loop.call_later(PING_SECONDS, self._ping)
        raw.set_protocol(_Wire(self))

    def early(self, data: bytes) -> bytes:
        """What frames carried that came with the handshake."""
        return self._read(data)

    # --- asyncio.Transport: what the owner asks ---

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The connection's; `websocket` is True."""
        return True if name == "websocket" else self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    @property
    def _sendfile_compatible(self) -> Any:
        """asyncio's sendfile would write past the frames; so told, aiohttp reads and writes instead."""
        raise NotImplementedError("there is no sendfile into a websocket")

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def is_reading(self) -> bool:
        return not (self._paused or self.is_closing())

    def pause_reading(self) -> None:
        if not self._paused and not self.is_closing():
            self._paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self.is_closing():
            self._paused = False
            self._raw.resume_reading()
            if self._ended:
                self._loop.call_soon(self._tell_end)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if data and not self._fin_sent and not self._closing:
            self._moved_at = self._loop.time()
            self._raw.write(self._writer.frames(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """FIN: nothing more comes from us, and what the peer sends is still read."""
        if not self._fin_sent and not self._closing:
            self._fin_sent = True
            self._raw.write(self._writer.frame(CLOSE, _FIN))

    def close(self) -> None:
        """What was written still goes out, then the end; a cut where the connection is set to reset when it closes."""
        if self._closing:
            return
        if not _resets_at_close(self._raw):
            self.write_eof()
        self._closing = True
        self._raw.close()

    def abort(self) -> None:
        """A reset: without close 1000 the peer takes it for nothing else."""
        if not self._lost:  # asyncio's own fails once it is
            self._closing = True
            reset(self._raw)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    # --- the connection tells ---

    def arrived(self, data: bytes) -> None:
        payload = self._read(data)
        if payload:
            self._tell("data_received", payload)
        if self._ended and not self._paused:
            self._tell_end()

    def hung_up(self) -> None:
        """FIN of the connection itself: behind close 1000 there was nothing to lose, else it is a cut."""
        if not self._ended:
            self._broken = ConnectionResetError("a websocket ended without its close")
            self._closing = True
            reset(self._raw)

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._lost:
            return
        self._lost = self._closing = True
        if self._pinger is not None:
            self._pinger.cancel()
        self._protocol.connection_lost(self._broken or error)

    def slow(self) -> None:
        self._tell("pause_writing")

    def ready(self) -> None:
        self._tell("resume_writing")

    # --- its parts ---

    def _read(self, data: bytes) -> bytes:
        """The bytes that frames carry; control frames are seen to."""
        self._moved_at = self._loop.time()
        if self._ended:
            return b""  # RFC 6455 5.5.1: nothing counts behind a close
        parts = []
        try:
            for kind, payload in self._reader.feed(data):
                if kind == BINARY:
                    parts.append(payload)
                elif kind == PING:
                    self._pong(payload)
                elif kind == CLOSE:
                    if payload[:2] != _FIN:
                        raise RemoteProtocolError("a websocket was closed by another code than 1000")
                    self._ended = True
                    break
        except RemoteProtocolError as error:
            self._broken = ConnectionResetError(error.detail)
            self.abort()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _tell_end(self) -> None:
        if self._told_end or self._paused or self._closing:
            return
        self._told_end = True
        told = getattr(self._protocol, "eof_received", None)
        if told is not None and not told():
            self.close()

    def _tell(self, what: str, *args: object) -> None:
        told: Callable[..., object] | None = getattr(self._protocol, what, None)
        if told is not None:
            told(*args)

    def _pong(self, payload: bytes) -> None:
        if not self._fin_sent and not self._closing and self._raw.get_write_buffer_size() == 0:
            self._raw.write(self._writer.frame(PONG, payload))  # a later ping may be answered in its place (5.5.3)

    def _ping(self) -> None:
        quiet = self._loop.time() - self._moved_at
        if quiet >= PING_SECONDS and not self._fin_sent and not self._closing:
            quiet = 0.0
            if self._raw.get_write_buffer_size() == 0:
                self._raw.write(self._writer.frame(PING, b""))
        self._pinger = self._loop.call_later(max(PING_SECONDS - quiet, 1.0), self._ping)


class _Wire(asyncio.Protocol):
    """What the connection below tells."""

    def __init__(self, above: WebsocketTransport) -> None:
        self._above = above

    def data_received(self, data: bytes) -> None:
        self._above.arrived(data)

    def pause_writing(self) -> None:
        self._above.slow()

    def resume_writing(self) -> None:
        self._above.ready()

    def connection_lost(self, exc: Exception | None) -> None:
        self._above.lost(exc)

    def eof_received(self) -> bool:
        self._above.hung_up()
        return True


def _resets_at_close(raw: asyncio.Transport) -> bool:
    """Whether pipe/reset.py has set it so."""
    sock = raw.get_extra_info("socket")
    if sock is None:
        return False
    try:
        lingers, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    except OSError:
        return False
    return bool(lingers) and seconds == 0

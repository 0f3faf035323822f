"""Closing a pipe's end behind our last words: what still comes is read and dropped for a moment.

Closing on bytes that nobody read is a reset, which the other end may see before those words: a refused upload's answer,
the close of a websocket whose message was too large.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prouter.pipe.reset import half_close

LINGER_SECONDS = 1.0


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` is a FIN, and an end once the other side ended or LINGER_SECONDS are over."""

    def __init__(self, raw: asyncio.Transport) -> None:
        super().__init__()
        self._raw = raw
        self._closing = False

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._raw.is_closing():
            return
        late = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._raw.close)
        self._raw.set_protocol(_Dropping(self._raw.get_protocol(), late))
        half_close(self._raw)
        if not self._raw.is_reading():
            self._raw.resume_reading()

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._closing:
            self._raw.write(data)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        if not self._closing:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._closing:
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._raw.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._raw.get_protocol()


class _Dropping(asyncio.Protocol):
    """In the place of the protocol that closed, which still hears how what it wrote goes out, and of the end."""

    def __init__(self, before: asyncio.BaseProtocol, late: asyncio.TimerHandle) -> None:
        self._late = late
        self.pause_writing = before.pause_writing  # type: ignore[method-assign]
        self.resume_writing = before.resume_writing  # type: ignore[method-assign]
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        self._before.connection_lost(exc)

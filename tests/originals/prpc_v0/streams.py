"""One call's stream of messages at one side, with the original's short queue.

There is no flow control: `feed` waits a while for room in the queue, and meanwhile nobody reads the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any


class StreamClosedError(Exception):
    """Something was to be sent on a stream that is closed."""


class Stream:
    """What the peer sent for this call waits here; what this side sends goes out by `send_data` and `send_close`."""

    def __init__(
        self,
        *,
        readable: bool,
        writable: bool,
        queue_messages: int,
        receive_delay_seconds: float,
        send_data: Callable[[Any], Awaitable[None]],
        send_close: Callable[[], Awaitable[None]],
    ) -> None:
        self.readable = readable
        self._writable = writable
        self._queue_messages = queue_messages
        self._receive_delay_seconds = receive_delay_seconds
        self._send_data = send_data
        self._send_close = send_close
        self._waiting: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self.closed = False

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._queue_messages

    async def feed(self, data: Any, seconds: float) -> bool:
        """Queue what came; False when there was no room for `seconds`, also of a stream whose reader is gone."""
        try:
            async with asyncio.timeout(seconds):
                while self.full:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            return False
        self._waiting.append(data)
        self._arrived.set()
        return True

    async def receive(self) -> Any:
        """The next message, None once the stream is closed and empty."""
        if self._receive_delay_seconds:
            await asyncio.sleep(self._receive_delay_seconds)
        while not self._waiting:
            if self.closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        data = self._waiting.popleft()
        self._room.set()
        return data

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (data := await self.receive()) is not None:
            yield data

    async def send(self, data: Any) -> None:
        if not self._writable or self.closed:
            raise StreamClosedError("stream is not open")
        await self._send_data(data)

    async def close(self) -> None:
        """Close and tell the peer, unless it is closed already."""
        if not self.closed:
            self.close_quietly()
            await self._send_close()

    def close_quietly(self) -> None:
        """The peer closed it, or its call is over: nobody is told."""
        self.closed = True
        self._arrived.set()

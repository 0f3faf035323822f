"""A link's channel without a network: what is sent to it is received in order, for as long as nobody cuts it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from prouter.errors import LinkClosed


class MemoryChannel:
    """A MessageChannel; `sent` gets what our end sends."""

    def __init__(self, sent: Callable[[bytes], None] = lambda data: None) -> None:
        self.close_code: int | None = None
        self.fell_silent = False
        self._sent = sent
        self._arrived: deque[bytes] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    def feed(self, data: bytes) -> None:
        self._arrived.append(data)
        self._changed.set()

    def cut(self) -> None:
        """Nothing comes any more, also of what is under way."""
        self._arrived.clear()
        self._ended = True
        self._changed.set()

    @property
    def waiting(self) -> int:
        """Messages that were fed and not received yet."""
        return len(self._arrived)

    @property
    def ended(self) -> bool:
        return self._ended

    async def receive(self) -> bytes | None:
        while not self._arrived:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._arrived.popleft()

    async def send(self, data: bytes) -> None:
        if self._ended:
            raise LinkClosed("the peer is gone")
        self._sent(data)

    async def ping(self) -> None:
        if self._ended:
            raise LinkClosed("the peer is gone")

    async def close(self, code: int) -> None:
        if not self._ended:
            self.close_code = code
            self.cut()

    async def keep_alive(self) -> None:
        while not self._ended:
            await asyncio.sleep(60)

    def lift_limit(self) -> None:
        pass

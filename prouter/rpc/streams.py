"""What waits between the link and those who read or write it, each with a bound.

Belongs here: `Inbox` (a stream's values that nobody has read yet), `Outbox` (messages that are not written yet) and
`Budget`. Does not: the protocol. Used by calls.py and connection.py. v1 has no flow control, so an inbox that is full
fails its stream: reading the link never waits for a reader.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from prouter.errors import LinkClosed, ProuterError
from prouter.rpc.limits import Limits

MESSAGE_COST_BYTES = 100
"""What a waiting message costs besides its bytes."""


class Budget:
    """What all inboxes of a link hold together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, cost_bytes: int) -> bool:
        """False when there is no room; nothing is taken then."""
        if self.held_bytes + cost_bytes > self._limit_bytes:
            return False
        self.held_bytes += cost_bytes
        return True

    def give(self, cost_bytes: int) -> None:
        self.held_bytes -= cost_bytes


class Inbox:
    """The values of one stream, until it ends or fails. `put` never waits, `receive` does."""

    def __init__(self, limits: Limits, budget: Budget) -> None:
        self._limits = limits
        self._budget = budget
        self._values: deque[tuple[Any, int]] = deque()
        self._held_bytes = 0
        self._ended = False
        self._error: ProuterError | None = None
        self._changed = asyncio.Event()

    def put(self, value: Any, cost_bytes: int) -> bool:
        """False when the stream has to be failed. A single message of any allowed size finds room in an empty one."""
        if self._ended:
            return True
        if len(self._values) >= self._limits.stream_queue_items:
            return False
        if self._values and self._held_bytes + cost_bytes > self._limits.stream_queue_bytes:
            return False
        if not self._budget.take(cost_bytes):
            return False
        self._values.append((value, cost_bytes))
        self._held_bytes += cost_bytes
        self._changed.set()
        return True

    def end(self, error: ProuterError | None = None) -> None:
        """No more values come; what is here can still be read, then `error` is raised. The first end counts, except
        that an error replaces an end without one: a callee may close its stream and fail afterwards."""
        self._error = self._error or error
        self._ended = True
        self._changed.set()

    def discard(self) -> None:
        """Nobody will read any more."""
        self._ended = True
        self._values.clear()
        self._budget.give(self._held_bytes)
        self._held_bytes = 0
        self._changed.set()

    def waiting(self) -> list[Any]:
        """All values that are here, without waiting for more."""
        values = [value for value, _ in self._values]
        self._values.clear()
        self._budget.give(self._held_bytes)
        self._held_bytes = 0
        return values

    async def receive(self) -> Any:
        """The next value; None at the end. Raises the error with which the stream ended."""
        while not self._values:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        value, cost_bytes = self._values.popleft()
        self._held_bytes -= cost_bytes
        self._budget.give(cost_bytes)
        return value


class Outbox:
    """Messages on their way to the channel, in order. Putting never waits, so that a message is sent wholly or not at
    all when its sender is cancelled; senders wait for room before."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._messages: deque[tuple[bytes, bool]] = deque()
        self._held_bytes = 0
        self._held_reply_bytes = 0
        self._put_count = 0
        self._written_count = 0
        self._closed: LinkClosed | None = None
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def held_bytes(self) -> int:
        """What waits to be written."""
        return self._held_bytes

    async def room(self) -> None:
        """Wait until there is room. Raises `LinkClosed`."""
        while self._closed is None and self._held_bytes > self._limits.send_queue_bytes:
            self._drained.clear()
            await self._drained.wait()
        if self._closed is not None:
            raise LinkClosed(self._closed.detail)

    def put(self, message: bytes) -> None:
        """Send after what is here. After the end it is dropped."""
        self._add(message, is_reply=False)

    def put_reply(self, message: bytes) -> bool:
        """The same for a reply whose sender can not wait for room. False when so many of them wait that the peer can
        not be reading: the link has to be closed."""
        self._add(message, is_reply=True)
        return self._held_reply_bytes <= self._limits.reply_queue_bytes

    def _add(self, message: bytes, *, is_reply: bool) -> None:
        if self._closed is not None:
            return
        self._messages.append((message, is_reply))
        self._put_count += 1
        self._count(message, is_reply=is_reply, sign=1)
        self._filled.set()

    def _count(self, message: bytes, *, is_reply: bool, sign: int) -> None:
        cost_bytes = sign * (len(message) + MESSAGE_COST_BYTES)
        self._held_bytes += cost_bytes
        if is_reply:
            self._held_reply_bytes += cost_bytes

    async def oldest(self) -> bytes:
        """The oldest message, which stays here until `written`."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        return self._messages[0][0]

    def written(self) -> None:
        """The oldest message is on its way."""
        if not self._messages:  # closed meanwhile
            return
        message, is_reply = self._messages.popleft()
        self._written_count += 1
        self._count(message, is_reply=is_reply, sign=-1)
        if self._held_bytes <= self._limits.send_queue_bytes:
            self._drained.set()

    async def empty(self) -> None:
        """Wait until all is written, or the link has ended."""
        while self._messages and self._closed is None:
            self._drained.clear()
            await self._drained.wait()

    async def passed(self) -> None:
        """Wait until all that is here now is written, whatever comes behind it. Raises `LinkClosed`."""
        last = self._put_count
        while self._written_count < last and self._closed is None:
            self._drained.clear()
            await self._drained.wait()
        if self._closed is not None:
            raise LinkClosed(self._closed.detail)

    def close(self, reason: LinkClosed) -> None:
        """The link ended: who waits for room gets `reason`."""
        self._closed = self._closed or reason
        self._messages.clear()
        self._held_bytes = self._held_reply_bytes = 0
        self._drained.set()

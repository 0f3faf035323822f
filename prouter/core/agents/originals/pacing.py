"""Sending a stream to an original no faster than it reads.

An original queues 32 messages of a call, then stops reading its whole link for up to 5 s, then fails the call with
status 30. The only sign of its reading is the answer to a ping (wire-v1.md), so after each few messages one is awaited.
"""

from __future__ import annotations

import asyncio

from prouter.errors import NotPossible
from prouter.rpc.calls import Call
from prouter.rpc.connection import Link
from prouter.rpc.limits import Limits

WINDOW = 8
"""Messages between two pings: a quarter of what an original queues."""
CAREFUL_AFTER = 24
"""Messages: with a window more it is what an original queues."""
SLOW_SECONDS = 1.0
"""For the answer to a ping of an agent that reads."""
ANSWER_SECONDS = 60.0
"""For a ping: a link that is silent for longer is ended by its keep-alive anyway."""
MESSAGE_BYTES = 256 * 1024
"""Of one message of a body: large, since it is their number that is limited, and far below what one may have."""
MAX_MESSAGE_BYTES = Limits().original_bytes - 64
"""What a message that can not be cut may have; the rest is the message's own head."""


class PacedSender:
    """Our stream of one call.

    `careful`: its reader may stop for as long as it likes (a job's websocket). Every message that is under way when the
    queue is full stops the agent's link once more, so that after the first ones only one is ever under way.
    """

    def __init__(self, link: Link, call: Call, *, careful: bool = False) -> None:
        self._link = link
        self._call = call
        self._free = CAREFUL_AFTER if careful else None
        self._window = WINDOW
        self._unseen = 0

    async def send(self, value: str | bytes) -> None:
        """A value as one message. Raises NotPossible for one that is too large, and what `Call.send` raises.

        An answer that was long in coming means that the agent did not read: from then on one message goes at a time.
        """
        size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(value)
        if size > MAX_MESSAGE_BYTES:
            raise NotPossible(f"an original agent takes messages of at most {MAX_MESSAGE_BYTES} bytes, not {size}")
        await self._call.send(value)
        self._unseen += 1
        if self._free is not None and self._free > 0:
            self._free -= 1
        window = 1 if self._free == 0 else self._window
        if self._unseen >= window and not self._call.finished:
            loop = asyncio.get_running_loop()
            asked_at = loop.time()
            await self._link.round_trip(ANSWER_SECONDS)
            self._window = 1 if loop.time() - asked_at > SLOW_SECONDS else min(self._window * 2, WINDOW)
            self._unseen = 0

    async def send_cut(self, data: bytes) -> None:
        """Bytes of a body, as as many messages as they need."""
        for start in range(0, len(data), MESSAGE_BYTES):
            await self.send(data[start : start + MESSAGE_BYTES])

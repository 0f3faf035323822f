"""What a pool has asked its agent for and what has not come yet.

Belongs here: the calls, and what is known of how they went. Does not: how many are asked for, and who gets them
(pool.py); how they open (a PipeSource: core/agents/pipes.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from prouter.errors import ProuterError
from prouter.model.services import Tasks

log = logging.getLogger(__name__)

Place = Callable[[asyncio.Transport, bytes], None]
"""Takes a pipe that opened: reading is paused, and what came already."""
PipeSource = Callable[[int, Place], Awaitable[None]]
"""Get so many pipes, or fewer, and place each as it opens; returns when no more will come. Raises LinkError when the
agent can not be asked."""
AT_ONCE = 64
"""Pipes asked for in one call."""


class Asking:
    """`place` gets each pipe; `over` is told when a call has ended, whether any pipe came and if not why."""

    def __init__(
        self, source: PipeSource, tasks: Tasks, agent: str, place: Place, over: Callable[[bool, str], None]
    ) -> None:
        self._source = source
        self._tasks = tasks
        self._agent = agent
        self._place = place
        self._over = over
        self.count = 0
        """Pipes that are to come."""
        self._calls: set[asyncio.Task[Any]] = set()
        self._failing = False
        """The last time none came."""
        self._closed = False

    def ask(self, count: int, gone: Callable[[int], None]) -> None:
        """Ask for so many; `gone` is told how many of them never came, however the asking ends."""
        while count > 0:
            some = min(count, AT_ONCE)
            count -= some
            self.count += some
            self._tasks.start(f"pipes of {self._agent}", self._call(some, gone))

    def close(self) -> None:
        """Nobody wants them any more."""
        self._closed = True
        for call in self._calls:
            call.cancel()

    async def _call(self, count: int, gone: Callable[[int], None]) -> None:
        left = count

        def place(transport: asyncio.Transport, leftover: bytes) -> None:
            nonlocal left
            if left == 0 or transport.is_closing():
                transport.abort()  # nobody asked for this one
                return
            left -= 1
            self.count -= 1
            self._place(transport, leftover)

        why = "none came"
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            if not self._closed:
                await self._source(count, place)
        except ProuterError as error:
            why = error.detail
        finally:
            self._calls.discard(task)
            self.count -= left
            gone(left)
        came = left < count
        if came:
            self._failing = False
        elif not self._closed:
            level = logging.DEBUG if self._failing else logging.WARNING  # once, however often it is asked again
            log.log(level, "agent %s opened no pipes: %s", self._agent, why)
            self._failing = True
        self._over(came, why)

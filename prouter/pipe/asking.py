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
"""Pipes asked for in one call, at most."""
UNDER_WAY = 256
"""Pipes that an agent is asked for at the same time. Who wants more waits until some have come: of thousands that open
side by side all open too late, and calls for them would leave the agent none for anything else."""


class Asking:
    """`place` gets each pipe. `never_came` is told how many of a call's did not come, however it ended; `over` when one
    has ended by itself, whether any came, and if not why. `needed`: how many are to come at most, as it is now; no call
    begins for more.

    Requests come many at once, and each wants one more: what is wanted in one turn of the loop is asked for together,
    and so is what had to wait.
    """

    def __init__(
        self,
        source: PipeSource,
        tasks: Tasks,
        agent: str,
        place: Place,
        never_came: Callable[[int], None],
        over: Callable[[bool, str], None],
        needed: Callable[[], int],
    ) -> None:
        self._source = source
        self._tasks = tasks
        self._agent = agent
        self._place = place
        self._never_came = never_came
        self._over = over
        self._needed = needed
        self.count = 0
        """Pipes that are to come."""
        self._wanted = 0
        """Those of them for which no call has begun."""
        self._beginning = False
        """A call, in the next turn."""
        self._calls: set[asyncio.Task[Any]] = set()
        self._failing = False
        """The last time none came."""
        self._closed = False

    def ask(self, count: int) -> None:
        """Ask for so many more."""
        self.count += count
        self._wanted += count
        self._go_on()

    def look_again(self) -> None:
        """Fewer may be needed: who waited for one is gone, or has another one."""
        spare = min(self._wanted, self.count - self._needed())
        if spare > 0:
            self._wanted -= spare
            self.count -= spare
            self._never_came(spare)

    def _go_on(self) -> None:
        """A call begins in the next turn, with all that is wanted until then, unless so many are under way already."""
        room = UNDER_WAY - (self.count - self._wanted)
        if 0 < min(self._wanted, AT_ONCE) <= room and not self._beginning:
            self._beginning = True
            self._tasks.start(f"pipes of {self._agent}", self._call())

    def close(self) -> None:
        """Nobody wants them any more."""
        self._closed = True
        never, self._wanted = self._wanted, 0
        self.count -= never
        self._never_came(never)
        for call in self._calls:
            call.cancel()

    async def _call(self) -> None:
        self._beginning = False
        self.look_again()
        left = count = min(self._wanted, AT_ONCE, UNDER_WAY - (self.count - self._wanted))
        self._wanted -= count
        self._go_on()
        if not count:
            return  # the link ended meanwhile, or nobody wants them any more

        def place(transport: asyncio.Transport, leftover: bytes) -> None:
            nonlocal left
            if left == 0 or transport.is_closing():
                transport.abort()  # nobody asked for this one
                return
            left -= 1
            self.count -= 1
            self._place(transport, leftover)
            self._go_on()

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
            self._never_came(left)
            self._go_on()
        came = left < count
        if came:
            self._failing = False
        elif not self._closed:
            level = logging.DEBUG if self._failing else logging.WARNING  # once, however often it is asked again
            log.log(level, "agent %s opened no pipes: %s", self._agent, why)
            self._failing = True
        self._over(came, why)

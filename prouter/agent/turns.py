"""At most so many at once, as asyncio.Semaphore, but how many is asked each time; who waits is woken one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """`async with turns:` waits for a turn. `most`: how many may have one just now, at least 1."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        overtaken = False
        while self._taken >= self._most():
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if overtaken:  # by somebody who came just now: still the first of those who wait
                self._waiting.appendleft(woken)
            else:
                self._waiting.append(woken)
            overtaken = True
            try:
                await woken
            except BaseException:
                if woken.done() and not woken.cancelled():
                    self._wake()  # who was woken does not go: the next one does
                raise
        self._taken += 1
        if self._taken < self._most():  # there may be more than when those who wait came
            self._wake()

    async def __aexit__(self, *error: object) -> None:
        self._taken -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                return

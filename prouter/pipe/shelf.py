"""Bound pipes that nobody uses just now, by target: where the next request finds one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from weakref import WeakValueDictionary

from prouter.pipe.upstream import UpstreamPipe

Opened = tuple[asyncio.Transport, bytes]
"""A pipe that is not bound, reading paused, and what came already."""
Waiter = asyncio.Future[Opened | UpstreamPipe]
"""Whoever waits for a pipe: a new one, or one of his target that comes back."""


class Shelf(deque[UpstreamPipe]):
    """Idle pipes of one target, the youngest last. Lives as long as a pipe is bound to the target, or somebody has it
    who takes from it: it stays the one for its target."""

    def __init__(self) -> None:
        super().__init__()
        self.waiters: deque[Waiter] = deque()
        """While there are any, pipes are not put back here but given to their pool."""

    def serve(self, pipe: UpstreamPipe) -> bool:
        """Give it to the one who waits for longest; whether anybody does."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(pipe)
                return True
        return False


class Shelves:
    """One for each target (a bind line) that is in use."""

    def __init__(self) -> None:
        self._by_line: WeakValueDictionary[bytes, Shelf] = WeakValueDictionary()

    def of(self, line: bytes) -> Shelf:
        shelf = self._by_line.get(line)
        if shelf is None:
            shelf = self._by_line[line] = Shelf()
        return shelf

    def __iter__(self) -> Iterator[Shelf]:
        """Those with a pipe."""
        return iter([shelf for shelf in self._by_line.values() if shelf])

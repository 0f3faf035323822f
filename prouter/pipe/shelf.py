"""Bound pipes that nobody uses just now, by target: where the next request finds one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from weakref import WeakValueDictionary

from prouter.pipe.upstream import UpstreamPipe

Shelf = deque[UpstreamPipe]
"""Idle pipes of one target, the youngest last. Lives as long as a pipe is bound to the target, or somebody has it who
takes from it: it stays the one for its target."""


class Shelves:
    """One for each target (a bind line) that is in use."""

    def __init__(self) -> None:
        self._by_line: WeakValueDictionary[bytes, Shelf] = WeakValueDictionary()

    def of(self, line: bytes) -> Shelf:
        shelf = self._by_line.get(line)
        if shelf is None:
            shelf = self._by_line[line] = deque()
        return shelf

    def __iter__(self) -> Iterator[Shelf]:
        """Those with a pipe."""
        return iter([shelf for shelf in self._by_line.values() if shelf])

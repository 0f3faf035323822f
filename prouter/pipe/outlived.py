"""Busy pipes whose control link has ended: they finish what they carry, unless there is nobody at the other end.

Contract: called while the link is gone, with the pipes that were bound over it, until none is left; nothing is done for
a pipe before that. A pipe is cut when the kernel says that its peer's host acknowledges nothing any more (alive.py). A
host may acknowledge what its agent never reads, because that stands still: so an answer that was waited for as long as
links may be silent, and has not begun, is given up when the agent is not back by then; when it fell silent, a little
later already. What has begun goes on when the agent does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from prouter.errors import TimedOut
from prouter.pipe.alive import is_deaf
from prouter.pipe.reset import reset

LOOKS = 5
"""In the time after which a silent peer is taken for gone."""


class Busy(Protocol):
    """A pipe that was bound."""

    @property
    def over(self) -> bool:
        """Whether it is closed."""

    def is_deaf(self, silent_seconds: float) -> bool:
        """As alive.is_deaf."""

    def cut(self, error: TimedOut) -> None:
        """End it; who has an exchange under way is told."""

    def give_up(self, error: TimedOut, waited_seconds: float) -> None:
        """The same, if it only waits, for so long, for an answer of which nothing has come."""


class Carried:
    """The agent's end of one, of which only the transport is known. A Busy."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def over(self) -> bool:
        return self._transport.is_closing()

    def is_deaf(self, silent_seconds: float) -> bool:
        return is_deaf(self._transport, silent_seconds)

    def cut(self, error: TimedOut) -> None:
        reset(self._transport)

    def give_up(self, error: TimedOut, waited_seconds: float) -> None:
        """Answers are the router's to wait for."""


class Outlived:
    """Looks after the pipes of one link that ended now; `peer` is whose link it was, for words."""

    def __init__(
        self,
        pipes: Iterable[Busy],
        silent_seconds: float,
        is_back: Callable[[], bool],
        peer: str,
        *,
        silent: bool,
    ) -> None:
        self._pipes = list(pipes)
        self._silent_seconds = silent_seconds
        self._is_back = is_back
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._lost_at = self._loop.time() + (silent_seconds / LOOKS if silent else silent_seconds)
        self.look()

    def look(self) -> None:
        pipes, seconds = [pipe for pipe in self._pipes if not pipe.over], self._silent_seconds
        self._pipes = pipes
        lost = self._loop.time() >= self._lost_at and not self._is_back()
        for pipe in pipes:
            if pipe.is_deaf(seconds):
                pipe.cut(TimedOut(f"{self._peer} can not be reached any more"))
            elif lost:
                pipe.give_up(TimedOut(f"{self._peer} has not answered, and is away"), seconds)
        if pipes:
            self._loop.call_later(seconds / LOOKS, self.look)

"""When it is looked again after something that no news will tell of: an agent that could not, a plugin that failed.

Belongs here: which failures pass by themselves, the pauses, the one timer. Does not: looking (looking.py), news
(queue.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prouter.core.queue.line import Place
from prouter.errors import LinkError, NoAgent, NotFound, ProuterError, ServiceError, TimedOut

FIRST_SECONDS = 1.0
MOST_SECONDS = 30.0
"""Pauses double with each failure of one job, up to that."""


def passes(error: ProuterError) -> bool:
    """Whether it may go well later though no agent tells of anything. Where there is no room, agents tell."""
    return isinstance(error, ServiceError | LinkError | NotFound) and not isinstance(error, NoAgent)


def is_unknown(error: ProuterError) -> bool:
    """Whether a job may have been made in spite of it."""
    return isinstance(error, LinkError | TimedOut)


class Again:
    """One timer for all places: a look is a look at all of them."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._timer: asyncio.TimerHandle | None = None

    def after_failure(self, place: Place) -> float:
        """It is looked again after a pause of that job's own. Returns when, as the loop tells the time."""
        now = asyncio.get_running_loop().time()
        if place.again_at <= now:
            place.again_at = now + min(FIRST_SECONDS * 2.0 ** min(place.failures, 16), MOST_SECONDS)
            place.failures += 1
        self.at(place.again_at)
        return place.again_at

    def at(self, when: float) -> None:
        """Then, or before."""
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._due)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        self._timer = None
        self._look()

"""What is told and counted of the queue: who came, who left, who moved up."""

from __future__ import annotations

import asyncio
from collections import Counter

from prouter.core.queue.line import Line, Place
from prouter.model.jobs import JobState
from prouter.model.queue import QueueCount, QueuedJob
from prouter.pluginkit.calling import Hooks

CHANGED = "prouter_queue_changed"
MOVES_SECONDS = 1.0
"""Other places are told of once in so long: each job that leaves moves all behind it."""


class QueueNews:
    """Told to the plugins that want to know; they can not delay anybody."""

    def __init__(self, hooks: Hooks, line: Line) -> None:
        self._hooks = hooks
        self._line = line
        self.counts: Counter[str] = Counter()
        """By the names of QueueCount's fields."""
        self._wait_seconds = 0.0
        self._moves: asyncio.TimerHandle | None = None
        self._over = False

    def joined(self, place: Place) -> None:
        """It waits: nobody could take it at once."""
        place.told = self._line.position(place)
        self._tell(self._line.as_it_is(place))
        self.moved()

    def placed(self, place: Place, waited_seconds: float) -> None:
        """It has left the line, and an agent has it."""
        self.counts["placed"] += 1
        self._wait_seconds += waited_seconds
        self._tell(place.shown(None))

    def ended(self, job: QueuedJob) -> None:
        """It was never made."""
        self.counts["given_up" if job.state is JobState.FINISHED else "removed"] += 1
        self._tell(job)

    def moved(self) -> None:
        """Some have other places; that is told a while later."""
        if self._moves is None and len(self._line) and not self._over and self._hooks.implemented(CHANGED):
            self._moves = asyncio.get_running_loop().call_later(MOVES_SECONDS, self._tell_moves)

    def end(self) -> None:
        """Nothing more is told."""
        self._over = True
        if self._moves is not None:
            self._moves.cancel()

    def count(self) -> QueueCount:
        return QueueCount(**self.counts, wait_seconds=self._wait_seconds)

    def _tell(self, job: QueuedJob) -> None:
        if self._hooks.implemented(CHANGED):
            self._hooks.notify(CHANGED, subject="the queue", jobs=(job,), moved=False)

    def _tell_moves(self) -> None:
        self._moves = None
        moved = []
        for number, place in enumerate(self._line, 1):
            if place.told != number:
                place.told = number
                moved.append(place.shown(number))
        if moved:
            self._hooks.notify(CHANGED, subject="the queue", jobs=tuple(moved), moved=True)

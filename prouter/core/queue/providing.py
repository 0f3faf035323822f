"""Plugins are asked to start agents for jobs that wait: as long as one waits, until one agent was started for it.

Belongs here: for which job it is asked, and when again. Does not: asking (core/provisioning.py). Whoever is the next
gets the agent.
"""

from __future__ import annotations

import asyncio

from prouter.core.provisioning import HOOK, Provisioning
from prouter.core.queue.line import Place
from prouter.errors import NoAgent, ProuterError, TooManyRequests
from prouter.model.selection import reasons
from prouter.model.telling import clipped
from prouter.model.trail import current
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.tasks import TaskOwner

FIRST_SECONDS = 5.0
MOST_SECONDS = 60.0
"""Until plugins that refused, failed or were too slow are asked again: twice as long each time, up to that."""


class Providing:
    """One task for each place, which ends with it."""

    def __init__(self, hooks: Hooks, provisioning: Provisioning, tasks: TaskOwner) -> None:
        self._hooks = hooks
        self._provisioning = provisioning
        self._tasks = tasks

    def begin(self, place: Place, refused: NoAgent | TooManyRequests) -> None:
        if self._hooks.implemented(HOOK):
            self._tasks.start(f"an agent for queued job {place.uid}", self._provide(place, refused))

    async def _provide(self, place: Place, refused: NoAgent | TooManyRequests) -> None:
        current.set(None)
        place.provider = asyncio.current_task()
        pause = FIRST_SECONDS
        try:
            while not place.done.done():
                full = self._provisioning.full
                try:
                    await self._provisioning.provide(place.request, place.principal, refused, reasons(refused))
                    return
                except ProuterError as error:
                    place.detail = clipped(error.detail)
                    if error is refused:  # no plugin starts any for such a job
                        return
                if full:
                    await self._provisioning.until_room()
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MOST_SECONDS)
        finally:
            place.provider = None

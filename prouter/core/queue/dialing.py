"""Agents that jobs in the queue name by an address and that have no link: they are dialed beside the looks.

An address where nobody answers takes its ten seconds from those that wait for it, and from nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prouter.core.queue.again import Again
from prouter.core.queue.line import Place
from prouter.core.queue.looking import Placing
from prouter.errors import NoAgent, PluginFailure, ProuterError
from prouter.model.trail import current
from prouter.pluginkit import context
from prouter.pluginkit.tasks import TaskOwner

AT_ONCE = 16
"""Jobs for which agents are dialed at the same time."""


class Dialing:
    """At most once at a time for each place."""

    def __init__(
        self,
        placing: Placing,
        tasks: TaskOwner,
        *,
        look: Callable[[], None],
        refused: Callable[[Place, ProuterError], None],
    ) -> None:
        """`look` is called when there may be a link, `refused` is told why there is none."""
        self._placing = placing
        self._tasks = tasks
        self._look = look
        self._refused = refused
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def begin(self, place: Place, again: Again) -> None:
        """Returns at once; after it failed it is not at once dialed again."""
        if place.again_at > asyncio.get_running_loop().time():
            again.at(place.again_at)
        elif place.dialer is None:
            self._tasks.start(f"an agent to be dialed for queued job {place.uid}", self._dial(place))

    async def _dial(self, place: Place) -> None:
        if place.dialer is not None or place.done.done():
            return
        current.set(None)
        place.dialer = asyncio.current_task()
        try:
            async with self._at_once:
                with context.about(request=place.request_id, job=place.uid):
                    await self._placing.choose(place.request, place.principal, lambda agent: agent, {})
        except NoAgent:  # it is linked, and has no room
            self._look()
        except ProuterError as error:
            self._tell(place, error)
        except Exception as error:
            self._tell(place, PluginFailure("selector", "choose", type(error).__name__))
            raise
        else:
            self._look()
        finally:
            place.dialer = None

    def _tell(self, place: Place, error: ProuterError) -> None:
        if not place.done.done():
            self._refused(place, error)

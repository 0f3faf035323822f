"""News for one plugin: bounded, in order, muted when the plugin keeps failing. What it misses it is told of."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from prouter.errors import PluginFailure, ProuterError
from prouter.model import unexpected
from prouter.pluginkit import context
from prouter.pluginkit.asking import Implementation, Pending
from prouter.pluginkit.limits import CallLimits

log = logging.getLogger(__name__)

MISSED = "prouter_news_missed"
"""The hook by which an observer is told how many were dropped, in their place."""

EXCEPTION = "prouter_handle_exception"
"""The hook by which unexpected exceptions are told; its own are only logged."""

TURN_SECONDS = 0.001
"""For which one plugin is told its news at a time; then everybody else has their turn."""
REST_SECONDS = 0.002
"""For which more is waited for when all is told: where news come by the thousand, many are told in one turn."""


class Observer:
    """The queue of one plugin; `work` empties it, once at a time."""

    def __init__(
        self, plugin: str, limits: CallLimits, missed: Implementation | None, count_failure: Callable[[str], int]
    ) -> None:
        self._plugin = plugin
        self._limits = limits
        self._missed = missed
        self._count_failure = count_failure
        self._news: deque[tuple[Implementation, Mapping[str, Any], tuple[str, str]]] = deque(maxlen=limits.news_kept)
        self._working = False
        self._resting: asyncio.Future[None] | None = None
        self._failures = 0
        self._dropped = 0

    def state(self) -> Mapping[str, Any]:
        """How much it has to be told still."""
        muted = self._failures >= self._limits.muted_after
        return {"waiting": len(self._news), "limit": self._limits.news_kept, "dropped": self._dropped, "muted": muted}

    def tell(self, found: Implementation, arguments: Mapping[str, Any]) -> bool:
        """Whether somebody must begin to work."""
        if self._failures >= self._limits.muted_after:
            return False
        if len(self._news) == self._limits.news_kept:
            self._dropped += 1
            if self._dropped == 1:
                log.warning("plugin %s does not keep up with its news; the oldest is dropped", self._plugin)
        self._news.append((found, arguments, context.ids()))
        if self._working:
            if self._resting is not None and 2 * len(self._news) >= self._limits.news_kept:
                self._go_on()
            return False
        self._working = True
        return True

    async def work(self) -> None:
        # a task that one of these began tells nobody of what goes wrong in it, and so does not stay for others
        rests = self._news[0][0].hook != EXCEPTION
        try:
            while self._news:
                await self._tell_waiting()
                if rests and not self._news:
                    await self._rest()
        finally:
            self._working = False

    async def _tell_waiting(self) -> None:
        """All that waits, as long as it has its turn."""
        end = perf_counter() + TURN_SECONDS
        while self._news:
            if self._dropped:
                await self._tell_missed()
                continue
            found, arguments, ids = self._news.popleft()
            context.stay_about(*ids)  # who began this task was about something else
            if found.hook == EXCEPTION:
                with unexpected.in_silence():
                    await self._tell(found, arguments)
            else:
                await self._tell(found, arguments)
            if perf_counter() >= end:
                await asyncio.sleep(0)  # a thousand short calls are a long one
                end = perf_counter() + TURN_SECONDS

    async def _rest(self) -> None:
        """Until there is more, and a while longer: a task for each of them costs more than they do."""
        loop = asyncio.get_running_loop()
        self._resting = loop.create_future()
        timer = loop.call_later(REST_SECONDS, self._go_on)
        try:
            await self._resting
        finally:
            timer.cancel()
            self._resting = None

    def _go_on(self) -> None:
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    async def _tell_missed(self) -> None:
        """The oldest were dropped: that comes before what is left."""
        count, self._dropped = self._dropped, 0
        context.stay_about("", "")
        log.warning("plugin %s missed %d of its news", self._plugin, count)
        if self._missed is not None:
            await self._tell(self._missed, {"count": count})

    async def _tell(self, found: Implementation, arguments: Mapping[str, Any]) -> None:
        try:
            pending = found.ask(arguments)
            if type(pending) is Pending:
                await pending.finish()
            self._failures = 0
        except ProuterError as error:
            self._failed(found, error)

    def _failed(self, found: Implementation, error: ProuterError) -> None:
        self._failures += 1
        self._count_failure(self._plugin)
        if not isinstance(error, PluginFailure):
            found.count.failures += 1
            log.error("plugin %s failed in %s: %s", self._plugin, found.hook, error.detail)
        if self._failures >= self._limits.muted_after:
            self._news.clear()
            log.error("plugin %s is told nothing any more: it failed %s times in a row", self._plugin, self._failures)

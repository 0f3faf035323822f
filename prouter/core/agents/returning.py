"""Requests that have not begun and wait for an agent to be back: how long, and how many of them.

Belongs here: the patience of one request, and the bound on all. Does not: what they wait with (core/dispatch.py), calls
about jobs, which are told at once that the agent is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from prouter.core.agents.directory import AgentDirectory
from prouter.errors import Unavailable
from prouter.pipe.steps import in_a_task

Found = TypeVar("Found")


class Returning:
    """Shared by all requests of a router. `seconds` 0: nobody waits."""

    def __init__(self, directory: AgentDirectory, seconds: float, most: int) -> None:
        self._directory = directory
        self._seconds = seconds
        self._most = most
        self.waiting = 0
        """Requests that wait now."""

    def patience(self) -> Patience:
        """Of one request, from now on."""
        return Patience(self, self._directory, self._seconds)

    async def found(self, away: Unavailable, ask: Callable[[], Found]) -> Found:
        """What `ask` returns once it raises no Unavailable any more; it has just raised `away`."""
        patience = self.patience()
        while True:
            await patience.until_news(away)
            try:
                return ask()
            except Unavailable as error:
                away = error

    @property
    def full(self) -> bool:
        return self.waiting >= self._most


class Patience:
    """What is left of the time that one request may wait."""

    def __init__(self, shared: Returning, directory: AgentDirectory, seconds: float) -> None:
        self._shared = shared
        self._directory = directory
        self._until = asyncio.get_running_loop().time() + seconds

    async def until_news(self, away: Unavailable) -> None:
        """Until an agent has a new link, whichever. Raises `away` when the time is over, or too many wait already."""
        registered = self._directory.registered  # taken before anything is waited for: the next one sets it
        over = self._shared.full or self._directory.waits_over
        if over or asyncio.get_running_loop().time() >= self._until:
            raise away
        self._shared.waiting += 1
        try:
            await in_a_task()
            async with asyncio.timeout_at(self._until):
                await registered.wait()
        except TimeoutError:
            raise away from None
        finally:
            self._shared.waiting -= 1

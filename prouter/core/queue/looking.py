"""One look at the whole queue: who is made now, and for which agent does everybody else wait.

Belongs here: the rule of fairness. Does not: when it is looked (queue.py), what becomes of a job that is made.

The rule: places are looked at in their order. A job that an agent has room for is made there. Any other waits for one
agent (its home) that could have it if only the jobs before it in the queue were there; from then on it counts there as
if it ran, for all behind it and for whoever asks without waiting. So nobody who comes later takes what it waits for,
however small, and what it does not need is free to be taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from prouter.core.agents.directory import AgentDirectory
from prouter.core.queue.holds import Holds, fits
from prouter.core.queue.line import Line, Place
from prouter.errors import ProuterError
from prouter.model.access import Principal
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest, JobRecord
from prouter.model.trail import Trail, current, recorded
from prouter.pluginkit import context

LOOK_SECONDS = 10.0
"""For a selector and the filters of one job that waits: all behind it wait for them."""
PLACES_A_TURN = 32
"""After so many that nothing was asked about, others have their turn of the loop."""
View = Callable[[AgentInfo], AgentInfo]
"""How an agent looks to who chooses."""


class Placing(Protocol):
    """What the queue asks of those that make jobs."""

    async def choose(
        self, request: CreateRequest, principal: Principal, view: View, not_taken: Mapping[AgentUid, str]
    ) -> AgentUid:
        """Raises as `Selection.choose` does, TooManyRequests where only too many jobs are in the way."""

    async def make_queued(self, agent: AgentUid, request: CreateRequest, asked: str) -> tuple[AgentUid, JobRecord]:
        """There, or where it is being made already. Raises what the agent says."""


class Looking:
    """Looks, again and again; what it keeps from one look to the next stands in the places."""

    def __init__(
        self,
        line: Line,
        directory: AgentDirectory,
        placing: Placing,
        *,
        make: Callable[[Place, AgentUid, Trail], None],
        refused: Callable[[Place, ProuterError], None],
        trail_bytes: int,
    ) -> None:
        """`make` begins to make a job and returns, `refused` is told why none could be."""
        self._line = line
        self._directory = directory
        self._placing = placing
        self._make = make
        self._refused = refused
        self._trail_bytes = trail_bytes
        self.fleet = 0
        """Grows whenever another agent could be a home: one came, went, drains, or is waited for by one job less."""
        self.news: dict[AgentUid, int] = {}
        """How often an agent told that there may be more room."""

    async def all(self) -> Holds:
        """What is kept from those who come behind all that wait now."""
        holds, agents = Holds(), self._agents()
        for place in self._line:
            if place.agent is not None:
                holds.add(place.agent, place.request.resources)
        for number, place in enumerate(self._line, 1):
            if number % PLACES_A_TURN == 0:
                await asyncio.sleep(0)
            if place.agent is not None or place.done.done():
                continue
            with context.about(request=place.request_id, job=place.uid):
                await self._place(place, holds, agents)
        return holds

    async def _place(self, place: Place, holds: Holds, agents: Sequence[AgentInfo]) -> None:
        resources = place.request.resources
        if any(fits(resources, holds.beside(agent)) for agent in agents):
            with recorded(place.trail(self._trail_bytes)) as trail:
                try:
                    not_taken = self._turned_down(place)
                    async with asyncio.timeout(LOOK_SECONDS):
                        agent = await self._placing.choose(place.request, place.principal, holds.beside, not_taken)
                except TimeoutError:
                    trail.close()
                except ProuterError as error:
                    trail.close()
                    if not place.done.done():
                        self._refused(place, error)
                else:
                    if not place.done.done():
                        holds.add(agent, resources)
                        self._make(place, agent, trail)
                    return
        if place.done.done():
            return
        home = await self._home(place, holds, agents)
        if home is not None:
            holds.add(home, resources)

    async def _home(self, place: Place, holds: Holds, agents: Sequence[AgentInfo]) -> AgentUid | None:
        resources = place.request.resources
        known = next((agent for agent in agents if agent.uid == place.home), None)
        if known is not None and fits(resources, holds.alone(known)):
            return place.home
        place.home = None
        if place.looked_home == self.fleet:
            return None
        place.looked_home = self.fleet
        if not any(fits(resources, holds.alone(agent)) for agent in agents):
            return None
        token = current.set(None)  # nobody wants to know how
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                place.home = await self._placing.choose(place.request, place.principal, holds.alone, {})
        except (ProuterError, TimeoutError):
            return None
        finally:
            current.reset(token)
        return place.home

    def _turned_down(self, place: Place) -> Mapping[AgentUid, str]:
        """Agents of which nothing was heard since."""
        place.turned_down = {
            agent: (heard, why) for agent, (heard, why) in place.turned_down.items() if self.news.get(agent, 0) == heard
        }
        return {agent: why for agent, (_, why) in place.turned_down.items()}

    def _agents(self) -> Sequence[AgentInfo]:
        return [entry.info() for entry in self._directory if entry.link is not None]

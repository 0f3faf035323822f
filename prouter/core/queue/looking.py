"""One look at the whole queue: who is made now, and for which agent does everybody else wait.

Belongs here: the rule of fairness. Does not: when it is looked (queue.py), what becomes of a job that is made.

The rule: places are looked at in their order. A job that an agent has room for is made there. Any other waits for one
agent (its home) that could have it if only the jobs before it in the queue were there; from then on it counts there as
if it ran, for all behind it and for whoever asks without waiting. So nobody who comes later takes what it waits for,
however small, and what it does not need is free to be taken.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.would_dial import WouldDial, dry_run, only_linked
from prouter.core.queue.again import passes
from prouter.core.queue.holds import Holds, View
from prouter.core.queue.line import Line, Place
from prouter.errors import NoAgent, ProuterError, TimedOut
from prouter.model.access import Principal
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef
from prouter.model.trail import Trail, current, recorded
from prouter.pluginkit import context

LOOK_SECONDS = 10.0
"""For a selector and the filters of one job that waits: all behind it wait for them."""
TURN_SECONDS = 0.005
"""After a look held the loop for so long, others have their turn of it."""
_Wish = tuple[frozenset[tuple[str, int]], str]


class Placing(Protocol):
    """What the queue asks of those that make jobs."""

    @property
    def treats_alike(self) -> bool:
        """Whether two jobs with the same locator and resources have the same agents to choose from."""

    async def choose(
        self, request: CreateRequest, principal: Principal, view: View, not_taken: Mapping[AgentUid, str]
    ) -> AgentUid:
        """Raises as `Selection.choose` does, TooManyRequests where only too many jobs are in the way."""

    def place_of(self, job: JobUid | None, chosen: AgentUid) -> AgentUid:
        """Where it is to be made: the one that was chosen, unless it is being made elsewhere already."""

    async def make(self, agent: AgentUid, request: CreateRequest, asked: str) -> JobRecord:
        """There. Raises what the agent says."""

    async def remove(self, ref: JobRef) -> JobRecord: ...


class Waiters(Protocol):
    """What a look tells of places."""

    def is_made(self, place: Place) -> bool:
        """Whether an agent has that job already; then it leaves the line."""

    def begin_to_make(self, place: Place, agent: AgentUid, trail: Trail) -> None:
        """Returns at once."""

    def begin_to_dial(self, place: Place) -> None:
        """Its agent has no link. Returns at once."""

    def refused(self, place: Place, error: ProuterError) -> None:
        """None could be chosen."""


class Looking:
    """Looks, again and again; what it keeps from one look to the next stands in the places."""

    def __init__(
        self, line: Line, directory: AgentDirectory, placing: Placing, waiters: Waiters, *, trail_bytes: int
    ) -> None:
        self._line = line
        self._directory = directory
        self._placing = placing
        self._waiters = waiters
        self._trail_bytes = trail_bytes
        self.fleet = 0
        """Grows whenever another agent could be a home: one came, went, drains, or is waited for by one job less."""
        self.roster = 0
        """Grows whenever an agent came, went or drains: what was in a job's way may be something else now."""
        self.news: dict[AgentUid, int] = {}
        """How often an agent told that there may be more room."""

    async def all(self) -> Holds:
        """What is kept from those who come behind all that wait now."""
        loop = asyncio.get_running_loop()
        look = _Look(self._agents())
        for place in self._line:
            if place.agent is not None:
                look.holds.add(place.agent, place.request.resources)
        began = loop.time()
        for place in self._line:
            if loop.time() - began >= TURN_SECONDS:
                await asyncio.sleep(0)
                began = loop.time()
            if place.agent is not None or place.done.done() or self._waiters.is_made(place):
                continue
            with context.about(request=place.request_id, job=place.uid):
                await self._place(place, look)
        return look.holds

    async def explained(self, place: Place) -> dict[str, Any]:
        """What choosing an agent for it would come to now, as POST /jobs/explain shows it. A dry run."""
        look = _Look(self._agents())
        for other in self._line:
            if other is place:  # what is kept for itself is not in its way
                continue
            agent = other.agent or (other.home if other.order < place.order else None)
            if agent is not None:
                look.holds.add(agent, other.request.resources)
        choose = partial(self._choose, place, look, look.holds.beside, self._turned_down(place))
        return await dry_run(place.trail(0), choose)

    async def _place(self, place: Place, look: _Look) -> None:
        resources = place.request.resources
        refused = self._refused_before(place, look)
        if refused is not None:
            place.explained = self.roster
            self._waiters.refused(place, refused)
        elif (look.has_room(resources) or place.explained != self.roster) and not look.is_slow(place):
            place.explained = self.roster
            with recorded(place.trail(self._trail_bytes)) as trail:
                try:
                    agent = await self._choose(place, look, look.holds.beside, self._turned_down(place))
                except WouldDial:
                    trail.close()
                    if not place.done.done():
                        self._waiters.begin_to_dial(place)
                    return
                except ProuterError as error:
                    trail.close()
                    if isinstance(error, NoAgent) and not place.turned_down:
                        look.refused[_wish(place)] = error
                    if not place.done.done():
                        self._waiters.refused(place, error)
                else:
                    if not place.done.done():
                        look.holds.add(agent, resources)
                        self._waiters.begin_to_make(place, agent, trail)
                    return
        if place.done.done():
            return
        home = await self._home(place, look)
        if home is not None:
            look.holds.add(home, resources)

    async def _home(self, place: Place, look: _Look) -> AgentUid | None:
        resources = place.request.resources
        known = look.by_uid.get(place.home) if place.home is not None else None
        if known is not None and look.holds.could(resources, known):
            return place.home
        place.home = None
        if place.looked_home == self.fleet or look.is_slow(place):
            return None
        place.looked_home = self.fleet
        if not look.could(resources) or (self._placing.treats_alike and _wish(place) in look.homeless):
            return None
        token = current.set(None)  # nobody wants to know how
        try:
            place.home = await self._choose(place, look, look.holds.alone, {})
        except WouldDial:
            place.looked_home = -1
            if not place.done.done():
                self._waiters.begin_to_dial(place)
        except ProuterError as error:
            if isinstance(error, NoAgent):
                look.homeless.add(_wish(place))
            elif passes(error) and not place.done.done():
                place.looked_home = -1
                self._waiters.refused(place, error)
        finally:
            current.reset(token)
        return place.home

    def _refused_before(self, place: Place, look: _Look) -> NoAgent | None:
        """Why one with the same wishes got no agent in this look, where that holds for this one, too."""
        if place.turned_down or place.unsure is not None or not self._placing.treats_alike:
            return None
        return look.refused.get(_wish(place))

    async def _choose(self, place: Place, look: _Look, view: View, not_taken: Mapping[AgentUid, str]) -> AgentUid:
        """Raises WouldDial, TimedOut beside what `Placing.choose` does."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                with only_linked():
                    return await self._placing.choose(place.request, place.principal, view, not_taken)
        except TimeoutError:
            look.slow.add(_locator(place))
            raise TimedOut(f"no agent was chosen within {LOOK_SECONDS:g} s; it is tried again") from None

    def _turned_down(self, place: Place) -> Mapping[AgentUid, str]:
        """Agents of which nothing was heard since, and that are not to be asked again for the time that passed."""
        now = asyncio.get_running_loop().time()
        place.turned_down = {
            agent: down
            for agent, down in place.turned_down.items()
            if self.news.get(agent, 0) == down.heard and down.until > now
        }
        return {agent: down.why for agent, down in place.turned_down.items()}

    def _agents(self) -> Sequence[AgentInfo]:
        return [entry.info() for entry in self._directory if entry.link is not None]


class _Look:
    """What one look found out; holds only grow in it, so what had no room once has none in the rest of it."""

    def __init__(self, agents: Sequence[AgentInfo]) -> None:
        self.agents = agents
        self.holds = Holds()
        self.by_uid = {agent.uid: agent for agent in agents}
        self.refused: dict[_Wish, NoAgent] = {}
        self.homeless: set[_Wish] = set()
        self.slow: set[str] = set()
        """Locators whose selector took too long: that is waited for once."""
        self._full: set[frozenset[tuple[str, int]]] = set()
        self._never: set[frozenset[tuple[str, int]]] = set()

    def has_room(self, resources: Mapping[str, int]) -> bool:
        """Whether any agent has, beside what is kept for those before."""
        key = frozenset(resources.items())
        if key not in self._full and not any(self.holds.has_room(resources, agent) for agent in self.agents):
            self._full.add(key)
        return key not in self._full

    def could(self, resources: Mapping[str, int]) -> bool:
        """Whether any agent could have it if only those before were there."""
        key = frozenset(resources.items())
        if key not in self._never and not any(self.holds.could(resources, agent) for agent in self.agents):
            self._never.add(key)
        return key not in self._never

    def is_slow(self, place: Place) -> bool:
        return bool(self.slow) and _locator(place) in self.slow


def _wish(place: Place) -> _Wish:
    """All that counts for whether there is an agent for it, unless plugins look at more."""
    return frozenset(place.request.resources.items()), _locator(place)


def _locator(place: Place) -> str:
    return json.dumps(place.request.locator, sort_keys=True, default=str)

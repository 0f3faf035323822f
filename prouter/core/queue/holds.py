"""What the jobs that wait keep from those behind them: each counts on one agent as if it ran there already.

Belongs here: those counts and how an agent looks with them. Does not: which agent a job waits for (looking.py). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid
from prouter.model.resources import JOBS, asked_by

View = Callable[[AgentInfo], AgentInfo]
"""How an agent looks to who chooses."""


class Holds:
    """Only grows; a new one is made for each look at the queue."""

    def __init__(self) -> None:
        self._held: dict[AgentUid, dict[str, int]] = {}
        self._jobs: dict[AgentUid, int] = {}

    def add(self, agent: AgentUid, resources: Mapping[str, int]) -> None:
        """A job waits for that agent, or is being made there."""
        held = self._held.setdefault(agent, {})
        for name, count in asked_by(resources).items():
            held[name] = held.get(name, 0) + count
        self._jobs[agent] = self._jobs.get(agent, 0) + 1

    def beside(self, agent: AgentInfo) -> AgentInfo:
        """The agent as one sees it who comes behind all these."""
        held = self._held.get(agent.uid)
        if held is None:
            return agent
        used = dict(agent.used)
        for name, count in held.items():
            used[name] = used.get(name, 0) + count
        return replace(agent, waiting=agent.waiting + self._jobs[agent.uid], used=used)

    def alone(self, agent: AgentInfo) -> AgentInfo:
        """As if nothing ran there, and these waited."""
        held = self._held.get(agent.uid, {})
        return replace(agent, jobs=0, waiting=self._jobs.get(agent.uid, 0), used=dict(held))

    def has_room(self, resources: Mapping[str, int], agent: AgentInfo) -> bool:
        """Whether a job may have what it asks for there beside all these, as far as counting goes."""
        return self._fits(resources, agent, agent.used)

    def could(self, resources: Mapping[str, int], agent: AgentInfo) -> bool:
        """As if only these were there."""
        return self._fits(resources, agent, _NONE)

    def _fits(self, resources: Mapping[str, int], agent: AgentInfo, used: Mapping[str, int]) -> bool:
        """As model.resources.shortage of `beside` or `alone`, for no more than it takes: it is asked very often."""
        if not agent.connected or agent.draining:
            return False
        held = self._held.get(agent.uid, _NONE)
        for name, asked in asked_by(resources).items():
            total = agent.capacity.get(name)
            if total is None and name == JOBS:
                continue
            if total is None or asked > total - used.get(name, 0) - held.get(name, 0):
                return False
        return True


_NONE: Mapping[str, int] = {}
NOTHING = Holds()
"""Nobody waits."""

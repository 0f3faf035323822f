"""What is in the way of one new job, agent by agent, while a place for it is looked for.

Belongs here: what was said by whom, and which refusal says it best. Does not: choosing, and asking agents (service.py).
"""

from __future__ import annotations

from prouter.errors import NoAgent, ProuterError, TooManyRequests
from prouter.model.ids import AgentUid
from prouter.model.selection import reasons


class Crowded:
    """Agents that have no room for a job, as we know or as they said, and why."""

    def __init__(self) -> None:
        self.turned_down: dict[AgentUid, str] = {}
        self.provided = False
        """Plugins were asked to start an agent."""
        self._too_many: dict[AgentUid, TooManyRequests] = {}

    def note(self, agent: AgentUid, why: NoAgent | TooManyRequests) -> None:
        self.turned_down[agent] = why.detail
        if isinstance(why, TooManyRequests):
            self._too_many[agent] = why

    def instead_of(self, error: ProuterError) -> ProuterError:
        """Where nothing but too many jobs is in the way, that is said: a client can do something about it."""
        considered = reasons(error).keys()
        if isinstance(error, NoAgent) and considered and considered <= self._too_many.keys():
            return self._too_many[min(considered)]
        return error

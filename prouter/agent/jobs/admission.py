"""Whether this agent takes one more job: the one place where that is decided, with no await in it.

Belongs here: draining, and what jobs hold of the counted resources. Does not: what an agent has (settings), how that is
counted (model/resources.py). Asked by the registry in the same step in which the job becomes one of those that hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prouter.agent.draining import DrainSwitch
from prouter.errors import NoAgent
from prouter.model.jobs import JobRecord
from prouter.model.resources import JOBS, in_use, shortage


@dataclass(frozen=True, slots=True)
class Admission:
    """The agent's rules."""

    capacity: Mapping[str, int]
    draining: DrainSwitch

    def check_new(self, resources: Mapping[str, int], present: Iterable[JobRecord]) -> None:
        """Raises NoAgent for a new job beside those that are `present`."""
        if self.draining.drain.on:
            raise NoAgent("the agent takes no new job: it is draining")
        self.check_room(resources, present)

    def check_room(self, resources: Mapping[str, int], present: Iterable[JobRecord]) -> None:
        """Raises NoAgent when what a job asks for is not free beside those that are `present`."""
        if not resources and JOBS not in self.capacity:
            return
        why = shortage(resources, self.capacity, in_use(present))
        if why is not None:
            raise NoAgent(f"the agent can not take the job: {why}")

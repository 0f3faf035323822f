"""What all jobs of an agent share. Filled by app.py; no behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from prouter.agent.jobs.drivers import Drivers
from prouter.agent.jobs.hooks import JobHooks
from prouter.agent.jobs.limits import JobLimits
from prouter.agent.jobs.ports import PortFinders
from prouter.agent.output.limits import LineLimits
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.services import Tasks


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One for each agent."""

    tasks: Tasks
    ports: PortFinders
    limits: JobLimits
    drivers: Drivers
    environment: Callable[[JobRecord, StartRequest], Awaitable[Mapping[str, str]]]
    """What a process inherits."""
    told: Callable[[JobRecord], None]
    """Every change, in order."""
    check_again: Callable[[JobRecord], None]
    """Whether a job that has ended can have again what it held. Raises NoAgent."""
    over: Callable[[JobRecord], None]
    """A tree is gone."""
    hooks: JobHooks
    lines: LineLimits
    """For output that plugins change."""
    survive: bool = False
    """Whether jobs go on when the agent ends."""

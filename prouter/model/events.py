"""News of agents and jobs: frozen, told after the fact, in order for each subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prouter.model.activity import Activity
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest, JobRecord


@dataclass(frozen=True, slots=True)
class AgentConnected:
    agent: AgentInfo


@dataclass(frozen=True, slots=True)
class AgentDisconnected:
    agent: AgentInfo
    why: str


@dataclass(frozen=True, slots=True)
class AgentForgotten:
    """It was away for longer than `jobs.orphan_timeout`, or its link was dropped: nothing is kept of it any more."""

    uid: AgentUid


@dataclass(frozen=True, slots=True)
class AgentDraining:
    """It takes no new jobs from now on, or takes them again."""

    agent: AgentInfo


@dataclass(frozen=True, slots=True)
class JobChanged:
    agent: AgentInfo
    record: JobRecord


@dataclass(frozen=True, slots=True)
class JobsActive:
    """Other counts than before of what goes through jobs' ports."""

    agent: Callable[[], AgentInfo]
    """As it is now; asked only where somebody is told."""
    news: Sequence[tuple[JobRecord, Activity]]


@dataclass(frozen=True, slots=True)
class Failed:
    """Something that nobody waits for went wrong (a bridge, a background task of a plugin)."""

    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class AgentProvisioning:
    """How far it is with an agent that is started for a job."""

    request: CreateRequest
    plugin: str
    detail: str


Event = (
    AgentConnected
    | AgentDisconnected
    | AgentForgotten
    | AgentDraining
    | AgentProvisioning
    | JobChanged
    | JobsActive
    | Failed
)

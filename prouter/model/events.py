"""News of agents and jobs: frozen, told after the fact, in order for each subject."""

from __future__ import annotations

from dataclasses import dataclass

from prouter.model.agents import AgentInfo
from prouter.model.jobs import CreateRequest, JobRecord


@dataclass(frozen=True, slots=True)
class AgentConnected:
    agent: AgentInfo


@dataclass(frozen=True, slots=True)
class AgentDisconnected:
    agent: AgentInfo
    why: str


@dataclass(frozen=True, slots=True)
class AgentDraining:
    """It takes no new jobs from now on, or takes them again."""

    agent: AgentInfo


@dataclass(frozen=True, slots=True)
class JobChanged:
    agent: AgentInfo
    record: JobRecord


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


Event = AgentConnected | AgentDisconnected | AgentDraining | AgentProvisioning | JobChanged | Failed

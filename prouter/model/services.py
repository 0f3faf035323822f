"""The services that plugins get at their start-up: the bundle of the router, that of the agent, and what both have.

The door for plugins: all that the bundles lead to can be imported here. It is at home in router_services.py,
agent_services.py and sandbox_files.py, from where prouter's own modules import it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prouter.model.access import Principal
from prouter.model.agent_services import AgentJobs, Guarded, JobOutput
from prouter.model.agents import Identity
from prouter.model.proxying import Bridge
from prouter.model.queue import Queue
from prouter.model.reached import JobPorts
from prouter.model.repeats import Repeats
from prouter.model.router_services import Agents, Explanations, Jobs, JobStream, RouterDescription
from prouter.model.sandbox_files import (
    Condition,
    FileEntry,
    FoundEntry,
    OpenedFile,
    PartedUpload,
    PartsBounds,
    SandboxFiles,
    Unpacking,
    Upload,
)
from prouter.model.traffic import Traffic

__all__ = [
    "AgentHost",
    "AgentJobs",
    "Agents",
    "Condition",
    "Config",
    "Explanations",
    "FileEntry",
    "FoundEntry",
    "Guarded",
    "JobOutput",
    "JobStream",
    "Jobs",
    "OpenedFile",
    "PartedUpload",
    "PartsBounds",
    "Router",
    "RouterDescription",
    "SandboxFiles",
    "Tasks",
    "Unpacking",
    "Upload",
]


class Tasks(Protocol):
    """Background work owned by the plugin's life: cancelled and awaited when it shuts down; failures are logged."""

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None: ...


class Config(Protocol):
    """The validated configuration, defaults filled in."""

    def section(self, name: str) -> Mapping[str, Any]:
        """The values of a dotted section. Raises KeyError for one that nobody declared."""


async def _everybody_may(bridge: Bridge, principal: Principal) -> None:
    """Where nobody is asked."""


@dataclass(frozen=True, slots=True)
class Router:
    """What a plugin of the router gets at its start-up."""

    identity: Identity
    version: str
    config: Config
    jobs: Jobs
    agents: Agents
    tasks: Tasks
    state_directory: Path
    """The plugin's own, made when first asked for by `mkdir`."""
    describe: RouterDescription
    explanations: Explanations
    repeats: Repeats
    queue: Queue
    """Jobs that wait for an agent with room."""
    failed: Callable[[str, str], None] = lambda subject, detail: None
    """Tell that something went wrong for which nobody waits: (subject, detail) become an event and a log line."""
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    """Requests and connections by endpoint, "control" and "server"; read, never written, by plugins."""
    endpoints: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Where "control" and "server" listen, host and port, whatever the configuration left open; empty before that."""
    may_bridge: Callable[[Bridge, Principal], Awaitable[None]] = _everybody_may
    """Before a job's websocket is joined to one of the caller's: asks all of `prouter_bridge_open`. Raises Forbidden
    with the reason of the plugin that refused."""


async def _tells_nothing(most_bytes: int) -> Mapping[str, Any]:
    """Where there is no daemon around a plugin."""
    return {}


async def _removes_nothing(finished_seconds: float | None, disk_bytes: int | None) -> Mapping[str, Any]:
    """Where there is no daemon around a plugin."""
    return {}


@dataclass(frozen=True, slots=True)
class AgentHost:
    """What a plugin of the agent gets at its start-up."""

    identity: Identity
    version: str
    config: Config
    guarded: Guarded
    jobs: AgentJobs
    ports: JobPorts
    repeats: Repeats
    tasks: Tasks
    state_directory: Path
    state: Callable[[int], Awaitable[Mapping[str, Any]]] = _tells_nothing
    """What the agent is like inside, for support: no secrets, and no more than so many bytes as JSON."""
    would_remove: Callable[[float | None, int | None], Awaitable[Mapping[str, Any]]] = _removes_nothing
    """Which finished jobs the agent would remove by itself now, under its `jobs.finished_ttl` (seconds) and
    `jobs.disk_quota` (bytes), or others where they are given; as JSON. Nothing is removed."""

"""What a router is made of, wired to each other; none of it runs, listens or dials yet.

Belongs here: who gets whom. Does not: in which order they start and end (app.py), what each of them does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from prouter import __version__
from prouter.core.access import Access
from prouter.core.agents.dialer import Dialer
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.fleet import Fleet
from prouter.core.agents.housekeeping import Housekeeping
from prouter.core.agents.memory import AgentMemory, Remembered
from prouter.core.events import EventHub
from prouter.core.explaining import Explanations
from prouter.core.jobs.acting import Acting
from prouter.core.jobs.service import JobsService
from prouter.core.limits import pool_limits, spill_limits
from prouter.core.origin import Origins
from prouter.core.provisioning import Provisioning
from prouter.core.queue.queue import JobQueue
from prouter.core.queue.service import QueueService
from prouter.core.queue.settings import QueueSettings
from prouter.core.selection import Selection
from prouter.core.services import AgentsService
from prouter.core.settings import RouterSettings
from prouter.model.agents import Identity
from prouter.model.traffic import Traffic
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.config import Settings
from prouter.pluginkit.state import StateDirectory
from prouter.pluginkit.tasks import TaskOwner


@dataclass(frozen=True, slots=True)
class AgentParts:
    """All about agents."""

    acting: Acting
    remembered: Remembered
    events: EventHub
    directory: AgentDirectory
    fleet: Fleet
    housekeeping: Housekeeping
    dialer: Dialer

    @classmethod
    def of(
        cls,
        sections: Settings,
        settings: RouterSettings,
        hooks: Hooks,
        state: StateDirectory,
        tasks: TaskOwner,
        identity: Identity,
        joined: asyncio.Event,
    ) -> AgentParts:
        memory = AgentMemory(state.path / "agents.json")
        remembered = memory.read()
        acting = Acting()
        events = EventHub(hooks, joined, acting)
        directory = AgentDirectory(
            events.tell,
            orphan_seconds=settings.orphan_seconds,
            mirrored_bytes=settings.mirrored_bytes,
            takeover_seconds=settings.takeover_seconds,
            expected=remembered.uids,
        )
        section = sections.section
        fleet = Fleet.make(
            identity, __version__, settings, directory, tasks, pool_limits(section), spill_limits(section)
        )
        housekeeping = Housekeeping(memory, directory)
        dialer = Dialer(fleet, housekeeping.changed, hooks)
        housekeeping.watch(dialer)
        return cls(acting, remembered, events, directory, fleet, housekeeping, dialer)


@dataclass(frozen=True, slots=True)
class JobParts:
    """All about jobs: how an agent is chosen, how they wait for one, how they are made and asked about."""

    selection: Selection
    provisioning: Provisioning
    queue: JobQueue
    queued: QueueService
    jobs: JobsService
    explanations: Explanations
    agents: AgentsService
    access: Access

    @classmethod
    def of(
        cls,
        sections: Settings,
        settings: RouterSettings,
        hooks: Hooks,
        parts: AgentParts,
        origins: Origins,
        traffic: Mapping[str, Traffic],
        *,
        insecure: bool,
    ) -> JobParts:
        directory, fleet = parts.directory, parts.fleet
        selection = Selection(hooks, directory)
        provisioning = Provisioning(
            hooks,
            directory,
            parts.events.tell,
            timeout_seconds=settings.provision_seconds,
            most=settings.max_provisioning,
        )
        waiting = QueueSettings.read(sections.section("queue"))
        queue = JobQueue(hooks, directory, selection, provisioning, fleet.tasks, fleet.identity, waiting)
        directory.elsewhere, directory.waited_for = queue.elsewhere, queue.waits_for
        parts.events.heard_by(queue.note)
        jobs = JobsService(
            directory,
            selection,
            provisioning,
            queue,
            max_per_agent=settings.max_jobs_per_agent,
            trail_bytes=settings.trail_bytes,
            public_prefix=origins.public_prefix,
            acting=parts.acting,
            requests=traffic["control"].by_job,
        )
        queue.places_by(jobs, trail_bytes=settings.trail_bytes)
        return cls(
            selection,
            provisioning,
            queue,
            QueueService(queue, jobs, directory, most=waiting.most),
            jobs,
            Explanations(hooks, directory, jobs, queue),
            AgentsService(directory, parts.dialer),
            Access(hooks, settings, insecure=insecure),
        )

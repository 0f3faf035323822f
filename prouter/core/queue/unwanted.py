"""Jobs of which was told that they are not made, while an agent that was asked to make them could not be heard.

Such an agent may come back with one: it would hold a slot for ever, and nobody asks for it. It is removed then.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from prouter.core.agents.directory import AgentDirectory
from prouter.errors import JobNotFound, ProuterError
from prouter.model.events import AgentConnected, Event, JobChanged
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRecord, JobRef, JobState
from prouter.pluginkit.tasks import TaskOwner

log = logging.getLogger(__name__)

MAX_UNWANTED = 4096
"""The oldest is forgotten."""


class Unwanted:
    """Bounded, and of this run of the router; a job that another router made by the same uid is left alone."""

    def __init__(self, directory: AgentDirectory, tasks: TaskOwner, router_uid: str) -> None:
        self._directory = directory
        self._tasks = tasks
        self._router_uid = router_uid
        self._jobs: dict[JobUid, AgentUid] = {}
        self._under_way: set[JobUid] = set()

    def add(self, job: JobUid, agent: AgentUid) -> None:
        """It was given up, and that agent may have made it."""
        self._jobs.pop(job, None)
        self._jobs[job] = agent
        while len(self._jobs) > MAX_UNWANTED:
            del self._jobs[next(iter(self._jobs))]

    def wanted(self, job: JobUid | None) -> None:
        """Somebody asks for it anew."""
        if job is not None:
            self._jobs.pop(job, None)

    def note(self, event: Event, remove: Callable[[JobRef], Awaitable[object]]) -> None:
        """From the directory: what is unwanted and there is removed."""
        match event:
            case JobChanged(agent, told) if self._jobs.get(told.uid) == agent.uid:
                self._found(agent.uid, told, remove)
            case AgentConnected(agent) if agent.uid in self._jobs.values():
                known = self._directory.known(agent.uid)
                for job in [job for job, at in self._jobs.items() if at == agent.uid]:
                    record = known.mirror.record(job) if known is not None else None
                    if record is not None:
                        self._found(agent.uid, record, remove)
            case _:
                pass

    def _found(self, agent: AgentUid, record: JobRecord, remove: Callable[[JobRef], Awaitable[object]]) -> None:
        job = record.uid
        if record.state is not JobState.NEW or record.sender.uid != self._router_uid:
            del self._jobs[job]
        elif job not in self._under_way:
            self._tasks.start(f"removal of job {job}, which was given up", self._remove(JobRef(agent, job), remove))

    async def _remove(self, ref: JobRef, remove: Callable[[JobRef], Awaitable[object]]) -> None:
        if self._jobs.get(ref.job) != ref.agent or ref.job in self._under_way:
            return
        self._under_way.add(ref.job)
        try:
            await remove(ref)
            log.info("job %s is removed from agent %s: it was given up while it was made", ref.job, ref.agent)
        except JobNotFound:
            pass
        except ProuterError as error:
            log.info("job %s, which was given up, is still on agent %s: %s", ref.job, ref.agent, error.detail)
            return
        finally:
            self._under_way.discard(ref.job)
        self._jobs.pop(ref.job, None)

"""Who does not wait in the queue takes nothing that is kept for those who do: a job that runs again is no exception.

Belongs here: that rule for jobs that are there already. Does not: what is kept (looking.py), creates (selection.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from prouter.core.agents.directory import AgentEntry
from prouter.core.queue.queue import JobQueue
from prouter.errors import NoAgent, NotPossible
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRecord
from prouter.model.resources import asked_by, shortage
from prouter.model.selection import KEPT, no_agent

RETRY_SECONDS = 10
Ask = Callable[[bool], Awaitable[JobRecord]]
"""Ask the agent for the restart; False: to begin none, and only to tell how it went that the same key asked for."""


class Restarts:
    """Of all agents' jobs, and those that are under way."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._under_way: list[tuple[AgentUid, JobUid]] = []

    async def do(self, entry: AgentEntry, job: JobUid, key: str | None, ask: Ask) -> JobRecord:
        """Whether a finished job may have again what it held, and the agent's answer if so.

        Raises NoAgent; what was too little anyway the agent says.
        """
        refused = await self._refused(entry, job)
        if refused is not None:
            return await _told(refused, key, ask)
        this = (entry.uid, job)
        self._under_way.append(this)
        try:
            return await ask(True)
        finally:
            self._under_way.remove(this)

    async def _refused(self, entry: AgentEntry, job: JobUid) -> NoAgent | None:
        record = entry.mirror.record(job)
        if record is None or not record.ended or not len(self._queue.line):
            return None
        if self._queue.busy:
            await self._queue.settled()
        agent = entry.info()
        seen = self._queue.beside()(self._with_those_under_way(agent, entry, job))
        if shortage(record.resources, agent.capacity, agent.used) is None and shortage(
            record.resources, seen.capacity, seen.used
        ):
            refused = no_agent({agent.uid: KEPT})
            return NoAgent(refused.detail, retry_after=RETRY_SECONDS, extra=refused.extra)
        return None

    def _with_those_under_way(self, agent: AgentInfo, entry: AgentEntry, but: JobUid) -> AgentInfo:
        """As it is once other jobs run again of which it was not heard yet that they do."""
        used = dict(agent.used)
        for job in {job for uid, job in self._under_way if uid == entry.uid and job != but}:
            record = entry.mirror.record(job)
            if record is not None and record.ended:
                for name, count in asked_by(record.resources).items():
                    used[name] = used.get(name, 0) + count
        return replace(agent, used=used)


async def _told(refused: NoAgent, key: str | None, ask: Ask) -> JobRecord:
    """It may have been done before, and only its answer was lost."""
    if key is not None:
        try:
            return await ask(False)
        except (NoAgent, NotPossible):
            pass
    raise refused

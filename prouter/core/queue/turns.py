"""Who does not wait in the queue takes nothing that is kept for those who do: a job that runs again is no exception.

Belongs here: that rule for jobs that are there already. Does not: what is kept (looking.py), creates (selection.py).
"""

from __future__ import annotations

from prouter.core.agents.directory import AgentEntry
from prouter.core.queue.queue import JobQueue
from prouter.errors import NoAgent
from prouter.model.ids import JobUid
from prouter.model.resources import shortage
from prouter.model.selection import KEPT, no_agent

RETRY_SECONDS = 10


async def in_turn(queue: JobQueue, entry: AgentEntry, job: JobUid) -> None:
    """Whether a finished job may have it again. Raises NoAgent; what was too little anyway the agent says."""
    record = entry.mirror.record(job)
    if record is None or not record.ended or not len(queue.line):
        return
    if queue.busy:
        await queue.settled()
    agent = entry.info()
    seen = queue.beside()(agent)
    if shortage(record.resources, agent.capacity, agent.used) is None and shortage(
        record.resources, seen.capacity, seen.used
    ):
        refused = no_agent({agent.uid: KEPT})
        raise NoAgent(refused.detail, retry_after=RETRY_SECONDS, extra=refused.extra)

"""Whose a job is that is named by its uid alone: of the agent that told of it first, for as long as it has it.

Belongs here: one owner for each uid, and who else claims it. Does not: what is known of the jobs (the mirrors, which
have each agent's own), and paths that name the agent, which are that agent's whatever others say.
"""

from __future__ import annotations

from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRecord, JobState


class Owners:
    """Fed with every change that a mirror tells.

    What is always true: a uid that any agent has is owned by one that has it, and changes its owner only when that one
    has it no more; who claimed it next is next.
    """

    def __init__(self) -> None:
        self._owners: dict[JobUid, AgentUid] = {}
        self._others: dict[JobUid, dict[AgentUid, None]] = {}
        """Who claims it besides, in the order of their claims."""

    def of(self, job: JobUid) -> AgentUid | None:
        """None: nobody has it."""
        return self._owners.get(job)

    def note(self, record: JobRecord, agent: AgentUid) -> AgentUid | None:
        """A change of an agent's job. The owner where that is another agent, of which nobody was told yet."""
        if record.state is JobState.CLOSED:
            self.release(record.uid, agent)
            return None
        owner = self._owners.setdefault(record.uid, agent)
        if owner == agent:
            return None
        others = self._others.setdefault(record.uid, {})
        if agent in others:
            return None
        others[agent] = None
        return owner

    def release(self, job: JobUid, agent: AgentUid) -> None:
        """That agent has it no more."""
        others = self._others.get(job, {})
        if self._owners.get(job) != agent:
            others.pop(agent, None)
        elif others:
            self._owners[job] = next(iter(others))
            del others[self._owners[job]]
        else:
            del self._owners[job]
        if not others:
            self._others.pop(job, None)

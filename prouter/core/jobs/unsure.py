"""Where a job was being made when the answer was lost: asked again, it is made there or not at all.

Belongs here: which agent was asked, by the uid that the client chose, in this run of the router. Does not: jobs that
are known (the mirrors).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prouter.errors import Conflict, LinkError, ProuterError, TimedOut
from prouter.model.ids import AgentUid, JobUid

MAX_UNSURE = 4096
"""Creates of which nobody knows how they ended; the oldest is forgotten. Clients ask again within seconds."""


class Unsure:
    """Bounded; what was answered, either way, is forgotten."""

    def __init__(self) -> None:
        self._asked: dict[JobUid, AgentUid] = {}

    def agent(self, job: JobUid | None) -> AgentUid | None:
        """Who may have that job, and nobody knows."""
        return self._asked.get(job) if job is not None else None

    def forget(self, job: JobUid | None) -> None:
        """Its agent is gone for good."""
        if job is not None:
            self._asked.pop(job, None)

    @contextmanager
    def while_asking(self, job: JobUid | None, agent: AgentUid) -> Iterator[None]:
        """While that agent is asked to make it; afterwards, too, when it did not answer."""
        if job is None:
            yield
            return
        self._asked[job] = agent
        while len(self._asked) > MAX_UNSURE:
            del self._asked[next(iter(self._asked))]
        try:
            yield
        except (LinkError, TimedOut, Conflict):  # beside another one, of whose answer it says nothing
            raise
        except ProuterError:
            self.forget(job)
            raise
        self.forget(job)

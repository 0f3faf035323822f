"""Jobs that wait for an agent with room, as values: what routes, plugins and clients see of them.

Belongs here: one place in the queue and how it is shown, what the queue is asked. Does not: the order and who comes
next (core/queue/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prouter.model.access import Principal
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, JobState, Reason, Sender
from prouter.model.times import rfc3339

MAX_PRIORITY = 1_000_000
"""Of one plugin's answer, either way."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that has a place in the queue, or had one and was never made. Times are seconds since the epoch."""

    uid: JobUid
    """Valid from now on, and still once the job is made."""
    name: str
    labels: Mapping[str, str]
    resources: Mapping[str, int]
    sender: Sender
    """This router."""
    position: int | None
    """1 is the next; None: it does not wait any more."""
    priority: int
    since: float
    until: float
    """When it is given up."""
    detail: str
    """Why no agent took it, as it was last found out; of one that was given up: why."""
    state: JobState = JobState.NEW
    """FINISHED: it was given up. CLOSED: it was removed."""
    reason: Reason | None = None
    finished_at: float | None = None
    agent: AgentUid | None = None
    """Where it was made; it is a job like any other then."""

    @property
    def waits(self) -> bool:
        return self.position is not None

    @property
    def path(self) -> str:
        """Valid before and after there is an agent."""
        return f"/jobs/{self.uid}"

    def shown(self) -> dict[str, Any]:
        """The JobInfo of the API. What only an agent can know is null."""
        return {
            "uid": self.uid,
            "name": self.name,
            "path": self.path,
            "state": self.state.value,
            "sender": self.sender.to_wire(),
            "agent": None,
            "exit_code": None,
            "reason": self.reason.value if self.reason is not None else None,
            "created_at": None,
            "started_at": None,
            "finished_at": rfc3339(self.finished_at),
            "pid": None,
            "ports": {},
            "labels": dict(self.labels),
            "resources": dict(self.resources),
            "activity": None,
            "queue": {
                "position": self.position,
                "priority": self.priority,
                "since": rfc3339(self.since),
                "until": rfc3339(self.until),
                "detail": self.detail,
            },
        }


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What became of jobs that waited, since the router's start."""

    placed: int = 0
    given_up: int = 0
    removed: int = 0
    turned_away: int = 0
    """The queue was full."""
    wait_seconds: float = 0.0
    """Of those that were placed, together."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How the queue is now."""

    jobs: int
    most: int
    """`queue.max_jobs`."""
    longest_seconds: float
    """Of the one that waits for longest; 0 without one."""
    counts: QueueCount = field(default_factory=QueueCount)


class Queue(Protocol):
    """Jobs that wait until an agent has room for them (`?queue=SECONDS` of a create)."""

    async def create(
        self, request: CreateRequest, principal: Principal, seconds: float
    ) -> QueuedJob | tuple[AgentUid, JobRecord]:
        """A job at once where an agent has room and nobody waits for it, else a place for so many seconds.

        The same uid again has the same place. Raises as `Jobs.create` does, NoAgent when the queue is full.
        """

    def list(self) -> Sequence[QueuedJob]:
        """Those that wait, in their order."""

    def find(self, job: JobUid) -> QueuedJob | None:
        """One that waits, or was given up not long ago; None for all others, those that were made among them."""

    async def wait(self, job: JobUid, timeout_seconds: float | None = None) -> QueuedJob | JobRef:
        """Where it is made, once it is; how it was given up or removed; at the timeout as it is then.

        Raises JobNotFound, Unavailable (the router ends).
        """

    async def remove(self, job: JobUid, key: str | None = None) -> QueuedJob | JobRef:
        """It gives up its place, as it was before; one that was given up is forgotten. A JobRef: it was being made, and
        is made now. The same key again has the same answer, for a while. Raises JobNotFound."""

    def removed(self, job: JobUid, key: str) -> QueuedJob | None:
        """What a request with this key removed, as it was."""

    def look_again(self) -> None:
        """Something changed that agents do not tell of: a filter of a plugin would let another job pass now."""

    def now(self) -> Waiting: ...

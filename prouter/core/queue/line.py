"""The places of the queue in their order: the higher priority first, and of equals who came first.

Belongs here: one place and what is noted with it, the order. Does not: looking for agents (looking.py), who comes and
goes (queue.py).
"""

from __future__ import annotations

import asyncio
import bisect
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from prouter.errors import ProuterError
from prouter.model.access import Principal
from prouter.model.ids import AgentUid, JobUid, new_uid
from prouter.model.jobs import CreateRequest, JobRef, JobState, Reason, Sender
from prouter.model.queue import QueuedJob
from prouter.model.telling import clipped
from prouter.model.trail import Decision, Trail, current
from prouter.pluginkit import context


@dataclass(frozen=True, slots=True)
class Down:
    """That an agent did not take a job."""

    heard: int
    """After how many news of it."""
    why: str
    until: float = math.inf
    """When it may be asked again though nothing was heard of it, as the loop tells the time."""


@dataclass(slots=True, eq=False)
class Place:
    """One job that waits. What is always true: it is in the line exactly until `done` is."""

    uid: JobUid
    request: CreateRequest
    """As the plugins made it, with that uid."""
    asked: str
    """The digest of what the client asked for."""
    principal: Principal
    sender: Sender
    priority: int
    number: int
    """Grows with each that comes."""
    since: float
    until: float
    began: float
    """As `since`, monotonic."""
    done: asyncio.Future[QueuedJob | JobRef | ProuterError]
    request_id: str = ""
    decisions: list[Decision] = field(default_factory=list)
    """What was decided before it had to wait."""
    detail: str = ""
    agent: AgentUid | None = None
    """Where it is being made now."""
    unsure: AgentUid | None = None
    """Which agent may have made it, and could not be heard any more."""
    home: AgentUid | None = None
    """For which it waits: those behind it leave it what it needs there."""
    looked_home: int = -1
    """At which state of the fleet a home was last looked for."""
    explained: int = 0
    """With which agents it was last found out why none takes it."""
    turned_down: dict[AgentUid, Down] = field(default_factory=dict)
    """Agents that had less room than was known, or could not."""
    failures: int = 0
    """That no news end."""
    again_at: float = 0.0
    """When it is looked again because of them, as the loop tells the time."""
    timer: asyncio.TimerHandle | None = None
    provider: asyncio.Task[None] | None = None
    """Asks plugins to start an agent for it."""
    dialer: asyncio.Task[None] | None = None
    """Dials the agent that it names."""
    ends_as: tuple[JobState, Reason | None, str] | None = None
    """It was removed, or its time was over, while it was being made: what becomes of it when that fails."""
    told: int = 0
    """Its position, as it was told last."""

    @classmethod
    def new(
        cls,
        number: int,
        request: CreateRequest,
        asked: str,
        principal: Principal,
        sender: Sender,
        priority: int,
        seconds: float,
    ) -> Place:
        """For so many seconds from now."""
        now, trail, uid = time.time(), current.get(), request.uid or JobUid(new_uid())
        return cls(
            uid=uid,
            request=replace(request, uid=uid),
            asked=asked,
            principal=principal,
            sender=sender,
            priority=priority,
            number=number,
            since=now,
            until=now + seconds,
            began=time.monotonic(),
            done=asyncio.get_running_loop().create_future(),
            request_id=context.request_id.get(),
            decisions=list(trail.decisions) if trail is not None else [],
        )

    @property
    def order(self) -> tuple[int, int]:
        return -self.priority, self.number

    def stop(self) -> None:
        """It leaves: nothing more happens on its behalf."""
        for what in (self.timer, self.provider, self.dialer):
            if what is not None:
                what.cancel()

    def trail(self, keep_bytes: int) -> Trail:
        """For one attempt."""
        who = {"name": clipped(self.principal.name), "authenticator": clipped(self.principal.authenticator)}
        return Trail(keep_bytes=keep_bytes, principal=who, began_at=self.since, decisions=list(self.decisions))

    def shown(self, position: int | None) -> QueuedJob:
        return QueuedJob(
            uid=self.uid,
            name=self.request.name,
            labels=self.request.labels,
            resources=self.request.resources,
            sender=self.sender,
            position=position,
            priority=self.priority,
            since=self.since,
            until=self.until,
            detail=self.detail,
            agent=self.agent if position is None else None,
        )

    def ended(self, state: JobState, reason: Reason | None, now: float) -> QueuedJob:
        return replace(self.shown(None), state=state, reason=reason, finished_at=max(now, self.since))


class Line:
    """All places. Bounded by who adds."""

    def __init__(self) -> None:
        self._by_uid: dict[JobUid, Place] = {}
        self._order: list[Place] = []

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Place]:
        """In order, as they are now."""
        return iter(list(self._order))

    def get(self, job: JobUid | None) -> Place | None:
        return self._by_uid.get(job) if job is not None else None

    def add(self, place: Place) -> None:
        self._by_uid[place.uid] = place
        bisect.insort(self._order, place, key=_order)

    def remove(self, place: Place) -> None:
        del self._by_uid[place.uid]
        del self._order[self.position(place) - 1]

    def position(self, place: Place) -> int:
        """1 is the next."""
        return bisect.bisect_left(self._order, place.order, key=_order) + 1

    def shown(self) -> Sequence[QueuedJob]:
        return [place.shown(number) for number, place in enumerate(self._order, 1)]

    def as_it_is(self, place: Place) -> QueuedJob:
        """Also one that has left."""
        return place.shown(self.position(place) if self._by_uid.get(place.uid) is place else None)

    def oldest(self) -> float | None:
        """Since when somebody waits, monotonic."""
        return min((place.began for place in self._order), default=None)


def _order(place: Place) -> tuple[int, int]:
    return place.order

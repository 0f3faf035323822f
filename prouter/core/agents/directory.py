"""Who is connected, who is away: the router's directory of agents. It owns no truth; agents announce themselves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from prouter.core.agents.holdings import Holdings
from prouter.core.agents.link import AgentLink
from prouter.core.agents.owners import Owners
from prouter.core.jobs.mirror import JobMirror
from prouter.errors import (
    AgentAway,
    AgentNotFound,
    JobInvalidState,
    JobNotFound,
    JobQueued,
    LinkClosed,
    ProuterError,
    Unavailable,
)
from prouter.model.activity import Activity
from prouter.model.agents import ACTIVITY, LOOP, AgentInfo, Drain, Hello, LoopDelay
from prouter.model.events import (
    AgentConnected,
    AgentDisconnected,
    AgentDraining,
    AgentForgotten,
    Event,
    Failed,
    JobChanged,
    JobsActive,
)
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRecord, JobRef
from prouter.pluginkit.repeats import Repeats

log = logging.getLogger(__name__)

RETURN_SECONDS = 10.0
"""After the router's own start: how long agents of its last run count as away and not as unknown."""


MAX_REPEATS = 4096
"""Requests whose repetition is answered like the first one."""


class AgentEntry:
    """One agent, connected or away."""

    def __init__(
        self, link: AgentLink, told: Callable[[Event], None], owners: Owners, mirrored_bytes: float = math.inf
    ) -> None:
        self.link: AgentLink | None = link
        self.hello = link.hello
        self.mode = link.mode
        self.connected_at = time.time()
        self.linked_since = time.monotonic()
        self.away_since: float | None = None
        """Monotonic, both."""
        self.drain = link.hello.drain
        self.removed = link.removed
        """As the newest link tells."""
        self.loop: LoopDelay | None = None
        """As it told last; None: it does not."""
        self.making = 0
        """Jobs that are being made there now, and are not in the mirror yet."""
        self._told = told
        self._owners = owners
        self._holdings = Holdings()
        self.mirror = JobMirror(self._changed, mirrored_bytes)

    @property
    def uid(self) -> AgentUid:
        return AgentUid(self.hello.uid)

    def activity(self, job: JobUid) -> Activity | None:
        """None: this agent tells of none."""
        return self.mirror.activity(job) if ACTIVITY in self.hello.capabilities else None

    def note_drain(self, drain: Drain) -> None:
        """From the agent, over the link that it has now; older news than what is known is dropped."""
        if drain.revision > self.drain.revision:
            self.drain = drain
            log.info("agent %s takes %s", self.uid, "no new jobs: it is draining" if drain.on else "new jobs again")
            self._told(AgentDraining(self.info()))

    def note_activity(self, told: Mapping[JobUid, Activity]) -> None:
        """From the agent: what went through its jobs' ports."""
        news = [(self.mirror.get(job), activity) for job, activity in told.items() if self.mirror.note(job, activity)]
        if news:
            self._told(JobsActive(self.info, news))

    def _changed(self, record: JobRecord) -> None:
        self._holdings.note(record)
        self._told(JobChanged(self.info(), record))
        owner = self._owners.note(record, self.uid)
        if owner is not None:
            path = JobRef(self.uid, record.uid).path
            detail = f"agent {self.uid!r} tells of it, too, but it is agent {owner!r}'s; the other one is {path} only"
            self._told(Failed(record.uid, detail))

    def info(self) -> AgentInfo:
        return AgentInfo(
            uid=self.uid,
            name=self.hello.name,
            platform=self.hello.platform,
            properties=self.hello.properties,
            version=self.hello.version,
            connected=self.link is not None,
            connected_at=self.connected_at,
            mode=self.mode,
            jobs=self._holdings.started,
            waiting=self._holdings.waiting,
            capacity=self.hello.capacity,
            pipes=self.link.pool.size if self.link is not None else 0,
            used=dict(self._holdings.used),
            draining=self.drain.on,
            limits=self.hello.limits,
            loop=self.loop if self.link is not None and LOOP in self.hello.capabilities else None,
        )


class AgentDirectory:
    """All agents that are connected or were not long ago.

    What is always true: an agent has at most one link here; the directory's size is bounded by the agents seen within
    the orphan timeout.
    """

    def __init__(
        self,
        told: Callable[[Event], None],
        *,
        orphan_seconds: float,
        takeover_seconds: float,
        expected: frozenset[str] = frozenset(),
        mirrored_bytes: float = math.inf,
    ) -> None:
        self._mirrored_bytes = mirrored_bytes
        self._entries: dict[AgentUid, AgentEntry] = {}
        self._owners = Owners()
        self.repeats = Repeats(MAX_REPEATS)
        """Of requests with an Idempotency-Key that no job remembers."""
        self._told = told
        self._orphan_seconds = orphan_seconds
        self._takeover_seconds = takeover_seconds
        self._expected = set(expected)
        self._expected_until = time.monotonic() + RETURN_SECONDS
        self._registering: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each agent: who is asked whether its old link lives holds nobody else up."""
        self.registered = asyncio.Event()
        """Set, and replaced, whenever an agent has a new link."""
        self.on_registered: Callable[[], None] = lambda: None
        """The same, for who is told each time."""
        self.elsewhere: Callable[[JobUid], ProuterError | None] = lambda job: None
        """Why a job that no agent has can not be used yet, where it is known for all that."""
        self.waited_for: Callable[[AgentUid], bool] = lambda agent: False
        """Whether a job is to come to that agent."""
        self.waits_over = False
        """The router is about to end: nobody waits for an agent any more."""
        self._ending = False

    def __iter__(self) -> Iterator[AgentEntry]:
        self.forget_lost()
        return iter(list(self._entries.values()))

    def uids(self) -> list[str]:
        """Of all agents known, for the next run of the router, and of those of the last run that may still return."""
        late = self._expected if time.monotonic() < self._expected_until else set[str]()
        return sorted({str(uid) for uid in self._entries} | late)

    def known(self, uid: AgentUid) -> AgentEntry | None:
        """Whatever became of it, for as long as anything is kept of it."""
        return self._entries.get(uid)

    def entry(self, uid: str) -> AgentEntry:
        """Connected or away. Raises AgentAway for one of the last run that may still return, AgentNotFound."""
        entry = self._entries.get(AgentUid(uid))
        if entry is not None and (entry.away_since is None or not self._is_lost(entry)):
            return entry
        if uid in self._expected and time.monotonic() < self._expected_until:
            raise AgentAway(f"agent {uid!r} was connected before the router started and is not back yet")
        raise AgentNotFound(uid)

    def returning(self) -> int:
        """Behind the router's own start: agents of its last run that are not back and may still come."""
        return len(self._expected.difference(self._entries)) if time.monotonic() < self._expected_until else 0

    def linked(self, uid: str) -> Hello | None:
        """What the agent said of itself in the handshake of the link that it has now; None without a link."""
        entry = self._entries.get(AgentUid(uid))
        return entry.hello if entry is not None and entry.link is not None else None

    async def until_linked(self, uid: str) -> None:
        """Until the agent has a link. It may never come: the caller has a deadline."""
        while self.linked(uid) is None:
            await self.registered.wait()

    def connected(self, uid: str) -> AgentLink:
        """Raises AgentAway, AgentNotFound."""
        link = self.entry(uid).link
        if link is None:
            jobs = "ended with its link" if self.entry(uid).hello.original else "go on there"
            raise AgentAway(f"agent {uid!r} is away for the moment; its jobs {jobs}")
        return link

    def comes_back(self, uid: str, tried: AgentLink | None) -> bool:
        """Whether it is worth to wait for a link of an agent that is newer than the one that failed: its jobs go on."""
        entry = self._entries.get(AgentUid(uid))
        if entry is None or entry.hello.original or self._is_lost(entry) or self._ending:
            return False
        return tried is None or entry.link is not tried or tried.rpc.closed

    def has_newer(self, uid: str, tried: AgentLink | None) -> bool:
        """Whether it is there already."""
        entry = self._entries.get(AgentUid(uid))
        return entry is not None and entry.link is not None and entry.link is not tried

    async def made_before(self, job: JobUid) -> AgentUid | None:
        """Where a job with this uid is; None: nowhere. Behind the router's own start agents that may have it are waited
        for, since a second job would be made otherwise. Raises Unavailable: the router ends."""
        while True:
            registered = self.registered
            try:
                return self.find_job(job, None).agent
            except (JobNotFound, JobQueued, JobInvalidState):
                return None
            except AgentAway:
                if self.waits_over:
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._expected_until - time.monotonic())):
                    await registered.wait()

    def find_job(self, job: JobUid, agent: str | None) -> JobRef:
        """Without an agent, that of the one which told of the job first, whoever claims it later (owners.py).

        Raises AgentNotFound, AgentAway (it may be on an agent that is not back yet), JobNotFound; JobQueued and
        JobInvalidState for one that waits for an agent, or did in vain."""
        if agent is not None:
            if job not in self.entry(agent).mirror.records:
                self.connected(agent)
                raise JobNotFound(job)
            return JobRef(AgentUid(agent), job)
        owner = self._owners.of(job)
        if owner is not None:
            return JobRef(owner, job)
        elsewhere = self.elsewhere(job)
        if elsewhere is not None:
            raise elsewhere
        if self._expected - set(self._entries) and time.monotonic() < self._expected_until:
            raise AgentAway("the job may be on an agent that was connected before the router started")
        raise JobNotFound(job)

    def owner(self, job: JobUid) -> AgentUid | None:
        """Which agent has a job that is named by its uid alone, connected or away; None: nobody is known to."""
        return self._owners.of(job)

    def removed_job(self, job: JobUid, agent: str | None, key: str) -> tuple[JobRef, JobRecord] | None:
        """A job that a request with this Idempotency-Key removed, as it was."""
        for uid in [AgentUid(agent)] if agent is not None else list(self._entries):
            entry = self._entries.get(uid)
            record = self.repeats.outcome(("remove", JobRef(uid, job), key))
            if record is None and entry is not None:
                record = entry.removed.get((job, key))
            if isinstance(record, JobRecord) and entry is not None:
                return JobRef(uid, job), record
        return None

    async def register(self, link: AgentLink, jobs: Sequence[Any]) -> AgentEntry:
        """A link is up and all its jobs are known: it replaces an older link of this agent.

        Another link of the same boot is replaced at once; another boot only when the old link does not answer.
        Raises LinkClosed when the old link lives, RemoteProtocolError for jobs that can not be kept; nothing changed
        then.
        """
        async with self._registering.setdefault(link.hello.uid, asyncio.Lock()):
            if self._ending:
                raise LinkClosed("the router is ending")
            entry = self._entries.get(AgentUid(link.hello.uid))
            same_boot = entry is not None and entry.hello.boot == link.hello.boot and not link.hello.original
            old = entry.link if entry is not None else None
            if old is not None and not same_boot and await old.answers(self._takeover_seconds):
                raise LinkClosed(f"agent {link.hello.uid!r} is connected already from {old.address}, and alive")
            if old is not None and same_boot and old.hello.link > link.hello.link:
                raise LinkClosed(f"agent {link.hello.uid!r} has a newer link than {link.hello.link}")
            entry = self._entries.get(
                AgentUid(link.hello.uid)
            )  # it may have been forgotten while the old link was asked
            if entry is None:
                entry = AgentEntry(link, self._told, self._owners, self._mirrored_bytes)
            entry.mirror.check(jobs)  # before anything changes: the link that there is goes on where this one can not
            self._entries[entry.uid] = entry
            entry.link, entry.hello, entry.mode = link, link.hello, link.mode
            entry.drain, entry.removed = link.hello.drain, link.removed
            entry.away_since, entry.connected_at, entry.linked_since = None, time.time(), time.monotonic()
            if link.hello.original:
                entry.mirror.lose_all()
            else:
                entry.mirror.reconcile(jobs, same_boot=same_boot, removed=link.removed.values())
        if old is not None:
            log.info("agent %s: a newer link replaces link %s", link.name, old.hello.link)
            await old.close()
        log.info("agent %s is connected, %s jobs", link.name, len(entry.mirror))
        self._told(AgentConnected(entry.info()))
        self._tell_registered()
        return entry

    def _tell_registered(self) -> None:
        self.registered.set()
        self.registered = asyncio.Event()
        self.on_registered()

    def unregister(self, link: AgentLink, why: str) -> None:
        """A link ended. An older link's end changes nothing."""
        entry = self._entries.get(AgentUid(link.hello.uid))
        if entry is None or entry.link is not link:
            return
        entry.link = None
        entry.away_since = time.monotonic()
        if link.hello.original:
            entry.mirror.lose_all()
        log.info("agent %s is away: %s", link.name, why)
        self._told(AgentDisconnected(entry.info(), why))

    def forget(self, uid: AgentUid) -> None:
        """It is neither connected nor away. One that has a link yet is dropped: who calls closes that."""
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        entry.mirror.fail(AgentNotFound(uid))
        for record in entry.mirror:
            self._owners.release(record.uid, uid)
        if entry.link is not None:
            entry.link = None
            self._told(AgentDisconnected(entry.info(), "no job here needs it: its link is dropped"))
        self._told(AgentForgotten(uid))

    def connections(self) -> list[Mapping[str, Any]]:
        """Links as the API shows them; what a handshake says, without its token."""
        shown: list[Mapping[str, Any]] = []
        for entry in self._entries.values():
            link = entry.link
            if link is not None:
                peer = {
                    "auth": {"uid": link.hello.uid, "name": link.hello.name},
                    "platform": dict(link.hello.platform),
                    "properties": dict(link.hello.properties),
                }
                shown.append(
                    {
                        "uid": link.rpc.connection_id,
                        "mode": link.mode,
                        "peer": peer,
                        "address": link.address,
                        "pipes": link.pool.counts(),
                    }
                )
        return shown

    def end_waits(self) -> None:
        """The router is about to end: whoever waits for a job, or for an agent, is told to ask again."""
        self.waits_over = True
        self._tell_registered()
        for entry in self._entries.values():
            entry.mirror.fail(Unavailable("the router is ending; ask again when it is back"))

    async def close(self) -> None:
        """The router ends: links close."""
        self._ending = True
        links = [entry.link for entry in self._entries.values() if entry.link is not None]
        await asyncio.gather(*(link.close() for link in links), return_exceptions=True)

    def _is_lost(self, entry: AgentEntry) -> bool:
        return entry.away_since is not None and time.monotonic() - entry.away_since > self._orphan_seconds

    def forget_lost(self) -> None:
        """Drop those that are away for longer than the orphan timeout; who waits for their jobs is told."""
        for uid in [uid for uid, entry in self._entries.items() if self._is_lost(entry)]:
            self.forget(uid)
        for entry in self._entries.values():
            entry.mirror.forget_lost(self._orphan_seconds)

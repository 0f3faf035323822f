"""The Jobs service: what routes and plugins can do with jobs. Calls go to the agent, what is known is the mirror."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prouter.core.agents.directory import AgentDirectory, AgentEntry
from prouter.core.agents.link import AgentLink
from prouter.core.jobs.acting import Acting
from prouter.core.jobs.calls import JobCalls
from prouter.core.jobs.crowded import Crowded
from prouter.core.jobs.unsure import Unsure
from prouter.core.provisioning import Provisioning
from prouter.core.queue.queue import JobQueue
from prouter.core.queue.turns import Restarts
from prouter.core.selection import Selection, View
from prouter.errors import (
    AgentAway,
    AgentNotFound,
    AgentNotHere,
    Conflict,
    InvalidRequest,
    JobInvalidState,
    JobNotFound,
    JobQueued,
    NoAgent,
    PortNotFound,
    ProuterError,
    TooManyRequests,
)
from prouter.model import job_machine
from prouter.model.access import Principal, Resource
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, Reason, StartRequest, job_info
from prouter.model.queue import QueuedJob
from prouter.model.router_services import JobStream
from prouter.model.selection import no_agent, reasons
from prouter.model.telling import one_line, refusal
from prouter.model.trail import Trail, current, recorded
from prouter.pipe.bind import JobBinding
from prouter.pluginkit.repeats import Repeats

log = logging.getLogger(__name__)

Made = tuple[AgentUid, JobRecord]
ORIGINAL = "it speaks the original protocol only, in which it can not be told the uid that a job in the queue has"
NEWS_SECONDS = 2.0
"""How long the news of a removal, which travels beside the answer, is waited for."""


class JobsService:
    """Implements model.router_services.Jobs."""

    def __init__(
        self,
        directory: AgentDirectory,
        selection: Selection,
        provisioning: Provisioning,
        queue: JobQueue,
        *,
        max_per_agent: int,
        trail_bytes: int,
        public_prefix: str,
        acting: Acting,
        requests: Mapping[JobUid, int],
    ) -> None:
        """`requests`: how many each job's ports were asked, as they are at any moment."""
        self._directory = directory
        self._selection = selection
        self._provisioning = provisioning
        self._queue = queue
        self._max_per_agent = max_per_agent
        self._trail_bytes = trail_bytes
        self._public_prefix = public_prefix
        self._acting = acting
        self._requests = requests
        self._unsure = Unsure()
        self._restarts = Restarts(queue)

    @property
    def repeats(self) -> Repeats:
        """The same for all that takes an Idempotency-Key."""
        return self._directory.repeats

    def find(self, job: JobUid, agent: AgentUid | None = None) -> JobRef:
        return self._directory.find_job(job, agent)

    def get(self, ref: JobRef) -> JobRecord:
        return self._directory.entry(ref.agent).mirror.get(ref.job)

    def info(self, record: JobRecord, agent: AgentUid) -> dict[str, Any]:
        entry = self._directory.entry(agent)
        return job_info(record, entry.info().in_job(), entry.activity(record.uid), self._requests.get(record.uid, 0))

    def shown(self, record: JobRecord, agent: AgentInfo) -> dict[str, Any]:
        known = self._directory.known(agent.uid)
        activity = known.activity(record.uid) if known is not None else None
        return job_info(record, agent.in_job(), activity, self._requests.get(record.uid, 0))

    def list(self) -> Sequence[tuple[AgentUid, JobRecord]]:
        return [(entry.uid, record) for entry in self._directory for record in entry.mirror]

    async def create(self, request: CreateRequest, principal: Principal) -> Made:
        made = await self._recorded(request, principal, self._made)
        assert isinstance(made, tuple)
        return made

    async def create_or_queue(self, request: CreateRequest, principal: Principal, seconds: float) -> Made | QueuedJob:
        """As model.queue.Queue.create says."""

        async def make(request: CreateRequest, asked: str, principal: Principal) -> Made | QueuedJob:
            known = self._queue.known(request.uid, asked)
            if known is not None:
                return known
            priority = await self._queue.priority(request, principal)
            try:
                return await self._made(request, asked, principal, provides=self._queue.full)
            except (NoAgent, TooManyRequests) as error:
                before = await self._as_before(request, asked)  # meanwhile, by whoever asked for the same
                if before is not None:
                    return before
                return self._queue.join(request, asked, principal, seconds, priority, error)
            except (JobQueued, JobInvalidState):  # it has a place by the same request, asked at the same time
                known = self._queue.known(request.uid, asked)
                if known is None:
                    raise
                return known

        return await self._recorded(request, principal, make)

    async def _recorded(
        self,
        request: CreateRequest,
        principal: Principal,
        make: Callable[[CreateRequest, str, Principal], Awaitable[Made | QueuedJob]],
    ) -> Made | QueuedJob:
        """`make` gets the request as the plugins want it, and the digest of what the client asked for."""
        with recorded(Trail.of(principal, keep_bytes=self._trail_bytes)) as trail:
            try:
                asked = request.digest()
                request = await self._selection.spec(request, principal)
                with self._selection.telling(request, principal):
                    made = await make(request, asked, principal)
                if isinstance(made, QueuedJob):
                    trail.made = Resource(None, made.uid, made.labels)
                else:
                    agent, record = made
                    trail.chosen, trail.made = agent, Resource(agent, record.uid, record.labels)
                return made
            except InvalidRequest:  # nobody refused; and what was sent stands in no log
                raise
            except ProuterError as error:
                trail.refused = refusal(error)
                by = trail.choice.plugin if trail.choice is not None else "prouter"
                log.info("no job is made (%s): %s", error.code, trail.objections() or f"{by}: {one_line(error.detail)}")
                raise
            finally:
                trail.close()

    async def would_create(self, request: CreateRequest, principal: Principal) -> AgentUid:
        """Everything that is decided before a job is made, and nothing of the rest; raises as `create` does."""
        asked = request.digest()
        request = await self._selection.spec(request, principal)
        before = await self._directory.made_before(request.uid) if request.uid is not None else None
        if before is not None and request.uid is not None:
            record = self._directory.entry(before).mirror.get(request.uid)
            if record.asked and record.asked != asked:
                raise Conflict(f"a job {record.uid!r} was made before with other arguments")
            trail = current.get()
            if trail is not None:
                trail.has_it(before)
            return before
        return await self._choose(request, principal, Crowded())

    async def _as_before(self, request: CreateRequest, asked: str) -> Made | None:
        """The job of a request that is repeated."""
        before = await self._directory.made_before(request.uid) if request.uid is not None else None
        if before is None:
            return None
        link = self._directory.connected(before)  # its job goes on while it is away: to be asked again, not elsewhere
        return before, _learn(self._directory.entry(before), await link.jobs.create(request, asked))

    async def _made(self, request: CreateRequest, asked: str, principal: Principal, *, provides: bool = True) -> Made:
        """`provides`: plugins may start an agent for it, which is waited for."""
        self._queue.unwanted.wanted(request.uid)
        before = await self._as_before(request, asked)
        if before is not None:
            return before
        if self._queue.busy:
            await self._queue.settled()
        waits = self._queue.elsewhere(request.uid) if request.uid is not None else None
        if waits is not None:
            raise waits
        crowded = Crowded()
        crowded.provided = not provides
        while True:
            agent = self._unsure_of(request.uid) or await self._choose(request, principal, crowded)
            # meanwhile, by the same request, asked again
            agent = self._made_before(request.uid) or self._unsure_of(request.uid) or agent
            try:
                return agent, await self.make(agent, request, asked)
            except (NoAgent, TooManyRequests) as error:  # it knows better than we do; so another one may take it
                if agent in crowded.turned_down:
                    raise
                crowded.note(agent, error)

    @property
    def treats_alike(self) -> bool:
        return not self._selection.filters

    def place_of(self, job: JobUid | None, chosen: AgentUid) -> AgentUid:
        """Where the same request has made it meanwhile, or may have. Raises AgentAway while nobody knows."""
        return self._made_before(job) or self._unsure_of(job) or chosen

    async def make(self, agent: AgentUid, request: CreateRequest, asked: str) -> JobRecord:
        """On that agent, in the same step in which there was room; raises what it says."""
        entry = self._directory.entry(agent)
        known = request.uid is not None and request.uid in entry.mirror
        link = self._directory.connected(agent) if known else _link(entry)
        entry.making += 1
        try:
            with self._unsure.while_asking(request.uid, agent):
                return _learn(entry, await link.jobs.create(request, asked))
        finally:
            entry.making -= 1

    async def choose(
        self, request: CreateRequest, principal: Principal, view: View, not_taken: Mapping[AgentUid, str]
    ) -> AgentUid:
        """For a job that waits: an agent with room, nothing is started for it. Raises as `create` does."""
        unsure = self._unsure_of(request.uid)
        if unsure is not None and unsure in not_taken:
            raise no_agent({unsure: not_taken[unsure]})
        if unsure is not None:
            return unsure
        crowded = Crowded()
        self._note_full(crowded)
        for entry in self._directory:
            if entry.hello.original:
                crowded.turned_down[entry.uid] = ORIGINAL
        try:
            agent = await self._selection.choose(request, principal, {**crowded.turned_down, **not_taken}, view)
            _link(self._directory.entry(agent))
        except NoAgent as error:
            raise crowded.instead_of(error) from error
        return agent

    async def _choose(self, request: CreateRequest, principal: Principal, crowded: Crowded) -> AgentUid:
        """An agent with room for one more record, one that was started for this job where there was none.

        Raises TooManyRequests where only those are left that have no room.
        """
        while True:
            self._note_full(crowded)
            try:
                agent = await self._selection.choose(request, principal, crowded.turned_down, self._queue.beside())
                entry = self._directory.entry(agent)
                _link(entry)
            except (NoAgent, AgentNotFound) as error:
                instead = crowded.instead_of(error)
                if crowded.provided:
                    raise instead from error
                crowded.provided = True
                await self._provisioning.provide(request, principal, instead, reasons(error))
                continue
            if agent in crowded.turned_down or not self._full(entry):  # a selector may stick to its choice
                return agent

    def _note_full(self, crowded: Crowded) -> None:
        for entry in self._directory:
            if self._full(entry):
                count = len(entry.mirror)
                crowded.note(
                    entry.uid,
                    TooManyRequests(
                        f"agent {entry.uid!r} has {count} jobs, which is the limit; remove some",
                        headers={"Retry-After": "10"},
                    ),
                )

    def _full(self, entry: AgentEntry) -> bool:
        return len(entry.mirror) + entry.making >= self._max_per_agent

    async def start(
        self, ref: JobRef, request: StartRequest, key: str | None = None, public_prefix: str | None = None
    ) -> JobRecord:
        entry, calls = self._calls(ref)
        prefix = self._public_prefix if public_prefix is None else public_prefix
        paths = {port.name: prefix + ref.port_path(port.name) for port in request.ports}
        with self._acting.on(ref):
            return _learn(entry, await calls.start(ref.job, replace(request, base_paths=paths), key))

    async def restart(self, ref: JobRef, key: str | None = None) -> JobRecord:
        entry = self._directory.entry(ref.agent)

        def ask(begins: bool) -> Awaitable[JobRecord]:
            return self._calls(ref)[1].restart(ref.job, key, begins=begins)

        with self._acting.on(ref):
            return _learn(entry, await self._restarts.do(entry, ref.job, key, ask))

    async def stop(
        self, ref: JobRef, signal: str, grace_seconds: float | None = None, key: str | None = None
    ) -> JobRecord:
        entry, calls = self._calls(ref)
        with self._acting.on(ref):
            return _learn(entry, await calls.stop(ref.job, signal, grace_seconds, key))

    async def signal(self, ref: JobRef, signal: str, key: str | None = None) -> JobRecord:
        entry, calls = self._calls(ref)
        with self._acting.on(ref):
            return _learn(entry, await calls.signal(ref.job, signal, key))

    async def wait(self, ref: JobRef, timeout_seconds: float | None = None) -> JobRecord:
        return await self._directory.entry(ref.agent).mirror.wait_ended(ref.job, timeout_seconds)

    async def remove(self, ref: JobRef, key: str | None = None) -> JobRecord:
        if key is None:
            return await self._remove(ref, None)
        return await self._directory.repeats.do(("remove", ref, key), None, lambda: self._remove(ref, key))

    async def _remove(self, ref: JobRef, key: str | None) -> JobRecord:
        entry, calls = self._calls(ref)
        with self._acting.on(ref):
            try:
                before = await calls.remove(ref.job, key)
            except JobNotFound:
                known = entry.mirror.record(ref.job)
                if known is None or known.reason is not Reason.AGENT_LOST:
                    raise
                before = known  # its agent died amid a removal and does not know it any more: we forget it, too
                entry.mirror.apply(job_machine.closed(known))
            await entry.mirror.wait_removed(ref.job, NEWS_SECONDS)
        return before

    @contextlib.asynccontextmanager
    async def open_job(self, ref: JobRef, port: str | None = None) -> AsyncIterator[JobStream]:
        entry, link = self._directory.entry(ref.agent), self._directory.connected(ref.agent)
        record = entry.mirror.get(ref.job)
        found = record.find_port(port)
        if found is None:
            raise PortNotFound(f"job {ref.job!r} is {record.state.value} and serves no such port; port not found")
        async with link.pool.stream(JobBinding(ref.job, found.name, link.hello.link).line()) as stream:
            yield stream

    def _unsure_of(self, uid: JobUid | None) -> AgentUid | None:
        """Who was asked to make this job and could not answer. Raises AgentAway while that can not be found out."""
        agent = self._unsure.agent(uid)
        if agent is not None:
            try:
                self._directory.connected(agent)
            except AgentNotFound:
                self._unsure.forget(uid)
                return None
        return agent

    def _made_before(self, uid: JobUid | None) -> AgentUid | None:
        """Where the job of a repeated request is: another choice now would make a second one."""
        if uid is None:
            return None
        try:
            return self._directory.find_job(uid, None).agent
        except (JobNotFound, AgentAway, JobQueued, JobInvalidState):
            return None

    def _calls(self, ref: JobRef) -> tuple[AgentEntry, JobCalls]:
        """Raises AgentAway, AgentNotFound."""
        return self._directory.entry(ref.agent), self._directory.connected(ref.agent).jobs


def _link(entry: AgentEntry) -> AgentLink:
    if entry.link is None:
        raise AgentNotHere(entry.uid)
    return entry.link


def _learn(entry: AgentEntry, record: JobRecord) -> JobRecord:
    """An answer is news like any other: it may come before the watch tells of the same change."""
    entry.mirror.apply(record)
    return record

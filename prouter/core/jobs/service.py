"""The Jobs service: what routes and plugins can do with jobs. Calls go to the agent, what is known is the mirror."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from prouter.core.agents.directory import AgentDirectory, AgentEntry
from prouter.core.agents.link import AgentLink
from prouter.core.selection import Selection
from prouter.errors import (
    AgentAway,
    AgentNotFound,
    FileMissing,
    JobNotFound,
    NotPossible,
    PortNotFound,
    ProgramMissing,
    RemoteProtocolError,
    TooManyRequests,
)
from prouter.model.access import Principal
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, StartRequest, job_info
from prouter.model.services import JobStream
from prouter.pipe.bind import JobBinding

log = logging.getLogger(__name__)

START_MARGIN_SECONDS = 30.0
"""What a start may take beyond the time that its ports have to be served."""

MAX_START_SECONDS = 3600.0 + START_MARGIN_SECONDS
"""A restart waits for its ports as long as its start did, which only the agent knows."""

MAX_GRACE_SECONDS = 3600.0
END_SECONDS = 60.0
"""For a tree to be gone once it is killed."""

NEWS_SECONDS = 2.0
"""How long the news of a removal, which travels beside the answer, is waited for."""


class JobsService:
    """Implements model.services.Jobs."""

    def __init__(
        self,
        directory: AgentDirectory,
        selection: Selection,
        *,
        max_per_agent: int,
        public_prefix: str,
    ) -> None:
        self._directory = directory
        self._selection = selection
        self._max_per_agent = max_per_agent
        self._public_prefix = public_prefix

    def find(self, job: JobUid, agent: AgentUid | None = None) -> JobRef:
        return self._directory.find_job(job, agent)

    def get(self, ref: JobRef) -> JobRecord:
        return self._directory.entry(ref.agent).mirror.get(ref.job)

    def info(self, record: JobRecord, agent: AgentUid) -> dict[str, Any]:
        entry = self._directory.entry(agent)
        return job_info(record, entry.info().in_job(), entry.activity(record.uid))

    def shown(self, record: JobRecord, agent: AgentInfo) -> dict[str, Any]:
        known = self._directory.known(agent.uid)
        return job_info(record, agent.in_job(), known.activity(record.uid) if known is not None else None)

    def list(self) -> Sequence[tuple[AgentUid, JobRecord]]:
        return [(entry.uid, record) for entry in self._directory for record in entry.mirror]

    async def create(self, request: CreateRequest, principal: Principal) -> tuple[AgentUid, JobRecord]:
        asked = request.digest()
        request = await self._selection.spec(request, principal)
        agent = self._made_before(request.uid) or await self._selection.choose(request, principal)
        entry = self._directory.entry(agent)
        if entry.link is None:
            raise AgentNotFound(agent, f"agent connection {agent!r} is not found: it is away for the moment")
        if len(entry.mirror) >= self._max_per_agent:
            raise TooManyRequests(
                f"agent {agent!r} has {len(entry.mirror)} jobs, which is the limit; remove some",
                headers={"Retry-After": "10"},
            )
        link = _ours(entry.link)
        answer = await link.call("prouter_create", request.uid, request.name, dict(request.labels), asked)
        return agent, self._learn(entry, answer)

    async def start(
        self, ref: JobRef, request: StartRequest, key: str | None = None, public_prefix: str | None = None
    ) -> JobRecord:
        entry, link = self._connected(ref)
        prefix = self._public_prefix if public_prefix is None else public_prefix
        paths = {port.name: prefix + _below(ref, port.name) for port in request.ports}
        wire = request.to_wire() | {"base_paths": paths}
        patience = sum(port.ready_timeout_seconds for port in request.ports) + START_MARGIN_SECONDS
        with _starting():
            return self._learn(entry, await link.call("prouter_start", ref.job, wire, key, timeout_seconds=patience))

    async def restart(self, ref: JobRef, key: str | None = None) -> JobRecord:
        entry, link = self._connected(ref)
        with _starting():
            answer = await link.call("prouter_restart", ref.job, key, timeout_seconds=MAX_START_SECONDS)
        return self._learn(entry, answer)

    async def stop(
        self, ref: JobRef, signal: str, grace_seconds: float | None = None, key: str | None = None
    ) -> JobRecord:
        entry, link = self._connected(ref)
        patience = (MAX_GRACE_SECONDS if grace_seconds is None else grace_seconds) + END_SECONDS
        answer = await link.call("prouter_stop", ref.job, signal, grace_seconds, key, timeout_seconds=patience)
        return self._learn(entry, answer)

    async def signal(self, ref: JobRef, signal: str, key: str | None = None) -> JobRecord:
        entry, link = self._connected(ref)
        return self._learn(entry, await link.call("prouter_signal", ref.job, signal, key))

    async def wait(self, ref: JobRef, timeout_seconds: float | None = None) -> JobRecord:
        return await self._directory.entry(ref.agent).mirror.wait_ended(ref.job, timeout_seconds)

    async def remove(self, ref: JobRef) -> JobRecord:
        entry, link = self._connected(ref)
        before = _record(await link.call("prouter_remove", ref.job))
        await entry.mirror.wait_removed(ref.job, NEWS_SECONDS)
        return before

    @contextlib.asynccontextmanager
    async def open_job(self, ref: JobRef, port: str | None = None) -> AsyncIterator[JobStream]:
        entry, link = self._connected(ref)
        record = entry.mirror.get(ref.job)
        found = record.default_port() if port is None else record.ports.get(port)
        if found is None:
            raise PortNotFound(f"job {ref.job!r} is {record.state.value} and serves no such port; port not found")
        assert link.pool is not None
        async with link.pool.stream(JobBinding(ref.job, found.name, link.hello.link).line()) as stream:
            yield stream

    def _made_before(self, uid: JobUid | None) -> AgentUid | None:
        """Where the job of a repeated request is: another choice now would make a second one."""
        if uid is None:
            return None
        try:
            return self._directory.find_job(uid, None).agent
        except (JobNotFound, AgentAway):
            return None

    def _connected(self, ref: JobRef) -> tuple[AgentEntry, AgentLink]:
        entry = self._directory.entry(ref.agent)
        return entry, _ours(self._directory.connected(ref.agent))

    def _learn(self, entry: AgentEntry, answer: Mapping[str, Any]) -> JobRecord:
        """An answer is news like any other: it may come before the watch tells of the same change."""
        record = _record(answer)
        entry.mirror.apply(record)
        return record


def _below(ref: JobRef, port: str) -> str:
    """Where clients reach a job's port on this router, for `{base_path}`."""
    return ref.path + ("/http" if port == "http" else f"/port/{port}")


def _ours(link: AgentLink) -> AgentLink:
    if link.hello.original:
        raise NotPossible(f"agent {link.hello.uid!r} speaks the original protocol only, which can not carry this")
    return link


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """On a link, a missing program and a missing file have one name (the originals'); in a start it is the program."""
    try:
        yield
    except FileMissing as error:
        raise ProgramMissing(error.detail) from error


def _record(answer: Mapping[str, Any]) -> JobRecord:
    try:
        return JobRecord.from_wire(answer)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RemoteProtocolError("the agent answered with a job record that is none") from error

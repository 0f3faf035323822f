"""The calls about jobs that an agent of ours answers, as one side of what the service asks of any agent.

Belongs here: arguments out, a record back. Does not: which agent, what is known of its jobs (service.py), agents that
speak the original protocol only (core/agents/originals/jobs.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prouter.core.agents.link import AgentLink
from prouter.errors import FileMissing, NotPossible, ProgramMissing, RemoteProtocolError
from prouter.model.agents import EXPLAIN, REMOVED, REPEATED, RESOURCES
from prouter.model.ids import JobUid
from prouter.model.jobs import CreateRequest, JobRecord, StartRequest
from prouter.model.trail import current

START_MARGIN_SECONDS = 30.0
"""What a start may take beyond the time that its ports have to be served."""

MAX_START_SECONDS = 3600.0 + START_MARGIN_SECONDS
"""A restart waits for its ports as long as its start did, which only the agent knows."""

MAX_GRACE_SECONDS = 3600.0
END_SECONDS = 60.0
"""For a tree to be gone once it is killed."""


class JobCalls(Protocol):
    """What can be asked of an agent about its jobs, over one link. Each returns the job's record as it is then.

    All raise LinkClosed and TimedOut, JobNotFound where there is no such job, NotPossible what this agent has no word
    for.
    """

    async def create(self, request: CreateRequest, asked: str) -> JobRecord:
        """`asked` is the digest by which a repeated request is told from another one."""

    async def start(self, job: JobUid, request: StartRequest, key: str | None) -> JobRecord:
        """Until it runs and serves. Raises JobInvalidState, StartFailed."""

    async def restart(self, job: JobUid, key: str | None, *, begins: bool = True) -> JobRecord:
        """Where it `begins` none, how it went that this key asked for. Raises NoAgent where none did."""

    async def stop(self, job: JobUid, signal: str, grace_seconds: float | None, key: str | None) -> JobRecord: ...

    async def signal(self, job: JobUid, signal: str, key: str | None) -> JobRecord: ...

    async def remove(self, job: JobUid, key: str | None) -> JobRecord:
        """The record as it was before."""


def start_patience_seconds(request: StartRequest) -> float:
    """How long a start may take."""
    return sum(port.ready_timeout_seconds for port in request.ports) + START_MARGIN_SECONDS


class OurJobs:
    """JobCalls to an agent of ours."""

    def __init__(self, link: AgentLink) -> None:
        self._link = link

    async def create(self, request: CreateRequest, asked: str) -> JobRecord:
        arguments: list[Any] = [request.uid, request.name, dict(request.labels), asked]
        kept = self._kept()
        if request.resources and RESOURCES not in self._link.hello.capabilities:
            raise NotPossible(f"agent {self._link.hello.uid!r} is of a version that does not count resources")
        if request.resources or kept is not None:
            arguments.append(dict(request.resources))
        if kept is not None:
            arguments.append(kept)
        answer = await self._link.call("prouter_create", *arguments)
        return record_of(answer)

    def _kept(self) -> str | None:
        """Why the job is made here, for the agent to keep with it."""
        trail = current.get()
        if trail is None or not trail.keep_bytes or EXPLAIN not in self._link.hello.capabilities:
            return None
        trail.chosen = self._link.hello.uid
        return trail.kept(trail.keep_bytes)

    async def start(self, job: JobUid, request: StartRequest, key: str | None) -> JobRecord:
        patience = start_patience_seconds(request)
        with starting():
            return record_of(
                await self._link.call("prouter_start", job, request.to_wire(), key, timeout_seconds=patience)
            )

    async def restart(self, job: JobUid, key: str | None, *, begins: bool = True) -> JobRecord:
        if not begins and REPEATED not in self._link.hello.capabilities:
            raise NotPossible(f"agent {self._link.hello.uid!r} is of a version that does not tell how a restart went")
        only = () if begins else (False,)
        with starting():
            return record_of(
                await self._link.call("prouter_restart", job, key, *only, timeout_seconds=MAX_START_SECONDS)
            )

    async def stop(self, job: JobUid, signal: str, grace_seconds: float | None, key: str | None) -> JobRecord:
        patience = (MAX_GRACE_SECONDS if grace_seconds is None else grace_seconds) + END_SECONDS
        return record_of(
            await self._link.call("prouter_stop", job, signal, grace_seconds, key, timeout_seconds=patience)
        )

    async def signal(self, job: JobUid, signal: str, key: str | None) -> JobRecord:
        return record_of(await self._link.call("prouter_signal", job, signal, key))

    async def remove(self, job: JobUid, key: str | None) -> JobRecord:
        kept = (key,) if key is not None and REMOVED in self._link.hello.capabilities else ()
        return record_of(await self._link.call("prouter_remove", job, *kept))


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """On a link, a missing program and a missing file have one name (the originals'); in a start it is the program."""
    try:
        yield
    except FileMissing as error:
        raise ProgramMissing(error.detail) from error


def record_of(answer: Mapping[str, Any]) -> JobRecord:
    """Raises RemoteProtocolError: an agent is not trusted to be well-formed."""
    try:
        return JobRecord.from_wire(answer)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RemoteProtocolError("the agent answered with a job record that is none") from error

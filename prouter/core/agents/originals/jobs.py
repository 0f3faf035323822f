"""The jobs of an original: its six calls, and what the router has to know by itself since such an agent tells no news.

What is always true: a job that runs has a `job_wait` open, by which its end is learned; the jobs end with the link.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from prouter.core.agents.link import AgentLink
from prouter.core.jobs.calls import record_of, start_patience_seconds, starting
from prouter.core.jobs.mirror import JobMirror
from prouter.errors import (
    InvalidRequest,
    JobNotFound,
    LinkClosed,
    NotPossible,
    ProuterError,
    RemoteError,
    RemoteProtocolError,
)
from prouter.model import job_machine
from prouter.model.ids import JobUid, is_job_uid
from prouter.model.jobs import CreateRequest, JobRecord, JobState, Port, PortMode, PortRequest, Reason, StartRequest
from prouter.model.services import Tasks

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""Until a wait that ended without the job's end is begun again."""
INFO_SECONDS = 10.0
"""For the state of a job whose start failed."""


class OriginalJobs:
    """JobCalls to an original, over one link."""

    def __init__(self, link: AgentLink, mirror: Callable[[], JobMirror], tasks: Tasks) -> None:
        self._link = link
        self._known = mirror
        self._tasks = tasks

    @property
    def _mirror(self) -> JobMirror:
        return self._known()

    async def create(self, request: CreateRequest, asked: str) -> JobRecord:
        if request.labels or request.uid is not None:
            self._can_not("keep labels of a job, or a uid that was chosen for it (an Idempotency-Key makes one)")
        record = record_of(await self._link.call("job_create", request.name))
        if not is_job_uid(record.uid):
            raise RemoteProtocolError("the agent made a job with a uid that is none")
        return replace(record, name=request.name, revision=1)

    async def start(self, job: JobUid, request: StartRequest, key: str | None) -> JobRecord:
        """Goes on when the caller leaves: the agent would be left with a process of which nobody knows."""
        self._check(request, key)
        begun = job_machine.begin_start(self._mirror.get(job), None)
        self._mirror.apply(begun)
        started: asyncio.Future[JobRecord] = asyncio.get_running_loop().create_future()
        started.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
        self._tasks.start(f"start of {job} on {self._link.hello.uid}", self._start(begun, request, started))
        return await asyncio.shield(started)

    async def restart(self, job: JobUid, key: str | None, *, begins: bool = True) -> JobRecord:
        self._can_not("restart a job")

    async def stop(self, job: JobUid, signal: str, grace_seconds: float | None, key: str | None) -> JobRecord:
        self._can_not("stop a job, only remove it")

    async def signal(self, job: JobUid, signal: str, key: str | None) -> JobRecord:
        self._can_not("send a job a signal")

    async def remove(self, job: JobUid, key: str | None) -> JobRecord:
        known = self._mirror.get(job)
        if known.reason is Reason.AGENT_LOST:  # it was gone with its link: nothing is there to be removed
            before = known
        else:
            before = replace(known, state=await self._removed(job, known.state))
        self._mirror.apply(job_machine.closed(self._mirror.get(job)) if job in self._mirror else known)
        return before

    async def _removed(self, job: JobUid, known: JobState) -> JobState:
        """In which state it was. One that the agent does not know any more is removed, too."""
        try:
            return record_of(await self._link.call("job_remove", job)).state
        except JobNotFound:
            return known

    def _check(self, request: StartRequest, key: str | None) -> None:
        if key is not None:
            self._can_not("tell a repeated start from a second one (Idempotency-Key)")
        if request.timeout_seconds is not None or request.limits:
            self._can_not("end a job at a timeout or a limit")
        if any(port != PortRequest(ready_timeout_seconds=port.ready_timeout_seconds) for port in request.ports):
            self._can_not(f"find ports but by the mode {PortMode.REPORT.value!r}, one and without further wishes")
        if request.cwd is not None and request.cwd.startswith("/"):
            raise InvalidRequest("Invalid request: `cwd` is relative to the sandbox")  # would stay PENDING for ever

    def _can_not(self, what: str) -> NoReturn:
        raise NotPossible(f"agent {self._link.hello.uid!r} speaks the original protocol only, which can not {what}")

    async def _start(self, begun: JobRecord, request: StartRequest, started: asyncio.Future[JobRecord]) -> None:
        """The start and, when it went well, the rest of the job's life."""
        args = (begun.uid, list(request.args), dict(request.env), request.cwd, len(request.ports))
        try:
            with starting():
                answer = await self._link.call(
                    "job_start", *args, request.forward_stdout, timeout_seconds=start_patience_seconds(request)
                )
            record = record_of(answer)
        except ProuterError as error:
            await self._learn_failure(begun)
            started.set_exception(_explained(error))
            return
        except BaseException:
            started.cancel()
            raise
        port = Port("http", None)
        running = begun.changed(state=record.state, ports={port.name: port} if request.ports else {})
        self._mirror.apply(running)
        started.set_result(running)
        if record.state is JobState.RUNNING:
            await self._wait(begun.uid)

    async def _wait(self, job: JobUid) -> None:
        """Until it has ended or is gone. When the link ends first, that is its end (JobMirror.lose_all)."""
        while job in self._mirror and not self._mirror.get(job).ended:
            try:
                record = record_of(await self._link.rpc.call("job_wait", job, timeout_seconds=None))
            except LinkClosed:
                return
            except JobNotFound:
                if job in self._mirror:
                    self._mirror.apply(job_machine.closed(self._mirror.get(job)))
                return
            except ProuterError as error:
                log.info("job %s on %s: its end is asked for again: %s", job, self._link.name, error.detail)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if not record.ended:
                await asyncio.sleep(AGAIN_SECONDS)
            elif job in self._mirror:
                self._mirror.apply(self._mirror.get(job).changed(state=JobState.FINISHED, ports={}))

    async def _learn_failure(self, begun: JobRecord) -> None:
        """In which state a start that failed left the job: mostly FINISHED."""
        try:
            record = record_of(await self._link.call("job_info", begun.uid, timeout_seconds=INFO_SECONDS))
        except ProuterError:
            return
        if begun.uid not in self._mirror:
            return
        if record.ended:
            self._mirror.apply(begun.changed(state=JobState.FINISHED, reason=Reason.START_FAILED))
        elif record.state is not begun.state:
            self._mirror.apply(begun.changed(state=record.state))


def _explained(error: ProuterError) -> ProuterError:
    if isinstance(error, RemoteError) and error.cause == "ValueError":
        return InvalidRequest(f"Invalid request: {error.detail}")
    return error

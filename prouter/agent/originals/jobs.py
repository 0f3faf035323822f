"""The original's unary methods: jobs as an original agent has them, and their end with the link that made them.

Belongs here: what differs from our own methods (methods.py), checked against the recordings of the originals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from prouter.agent.jobs.job import Job
from prouter.agent.jobs.recovering import UNTIL_LINK_ENDS
from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.jobs.surroundings import Surroundings
from prouter.agent.links import RouterLink
from prouter.errors import (
    DirectoryMissing,
    InvalidRequest,
    JobInvalidState,
    JobNotFound,
    OriginalError,
    ProcessExited,
    ProgramMissing,
    ProuterError,
)
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, JobState, PortRequest, Reason, StartRequest
from prouter.model.methods import RpcKind, RpcMethod, RpcStream

log = logging.getLogger(__name__)

NOT_AGAIN = "job cannot be restarted"


class OriginalJobs:
    """The jobs of this agent as originals know them."""

    def __init__(self, jobs: JobRegistry, around: Surroundings) -> None:
        self.jobs = jobs
        self.around = around
        self.stuck: set[JobUid] = set()
        """Jobs whose start named an absolute cwd. An original leaves them PENDING for ever; they are NEW to us."""

    def methods(self, link: RouterLink) -> Sequence[RpcMethod]:
        """What the router at the other end of `link` can call; its jobs go when the link ends, if it is an original."""
        calls = _LinkJobs(self, link)
        link.at_end = calls.link_ended
        names = [name for name in dir(calls) if name.startswith("job_")]
        return [RpcMethod(name, RpcKind.UNARY, getattr(calls, name)) for name in names]

    def info(self, record: JobRecord) -> dict[str, Any]:
        """The fields that an original knows."""
        stuck = record.uid in self.stuck and record.state is JobState.NEW
        return {
            "uid": record.uid,
            "name": record.name,
            "state": (JobState.PENDING if stuck else record.state).value,
            "sender": record.sender.to_wire(),
        }


class _LinkJobs:
    """Methods by their names on the wire, with the argument names of the wire."""

    def __init__(self, originals: OriginalJobs, link: RouterLink) -> None:
        self._originals = originals
        self._jobs = originals.jobs
        self._link = link
        self._made: set[JobUid] = set()
        """Over this link, by an original: they end with it."""

    async def job_create(self, stream: RpcStream, name: Any = None) -> Any:
        if not isinstance(name, str | None):
            raise InvalidRequest("Invalid request: a job's name is a text")
        bound = UNTIL_LINK_ENDS if self._link.router.original else ""
        around, sender = self._originals.around, self._link.sender()
        record = await self._jobs.create(None, name or "", {}, {}, sender, around, bound)
        if bound:
            self._made.add(record.uid)
        return self._originals.info(record)

    async def job_remove(self, stream: RpcStream, job_uid: Any) -> Any:
        before = self._originals.info(await self._find(job_uid).remove())
        self._originals.stuck.discard(before["uid"])
        self._made.discard(before["uid"])
        return before

    async def job_info(self, stream: RpcStream, job_uid: Any) -> Any:
        return self._originals.info(self._find(job_uid).record)

    async def job_wait(self, stream: RpcStream, job_uid: Any) -> Any:
        """At once for a job that has no process, as the recording of a start that failed early shows."""
        job = self._find(job_uid)
        if job.record.state is not JobState.NEW:
            await job.wait_ended()
        return self._originals.info(job.record)

    async def job_start(
        self,
        stream: RpcStream,
        job_uid: Any,
        args: Any,
        env: Any,
        cwd: Any = None,
        port_expected_count: Any = 1,
        forward_stdout: Any = False,
    ) -> Any:
        job = self._find(job_uid)
        uid, stuck = job.record.uid, self._originals.stuck
        if uid in stuck or job.record.state is not JobState.NEW:
            raise JobInvalidState(NOT_AGAIN)
        if isinstance(cwd, str) and cwd.startswith("/"):
            stuck.add(uid)
            raise InvalidRequest("Invalid request: job working directory path must be relative")
        try:
            request = _start_request(args, env, cwd, port_expected_count, forward_stdout)
            return self._originals.info(await job.start(request))
        except JobInvalidState as error:  # started by somebody else meanwhile
            raise JobInvalidState(NOT_AGAIN) from error
        except InvalidRequest:
            await job.end(Reason.START_FAILED)  # to an original a job has one start, whatever comes of it
            raise
        except (ProgramMissing, DirectoryMissing) as error:
            missing = str(args[0]) if isinstance(error, ProgramMissing) else str(cwd)
            text = f"[Errno 2] No such file or directory: {missing!r}: {missing!r}"
            raise OriginalError("FileNotFoundError", text, error.detail) from error
        except ProcessExited as error:
            text = "process died before binding required ports"
            raise OriginalError("ProcessExitedError", text, error.detail) from error

    async def job_count_current_connection(self, stream: RpcStream) -> int:
        if self._link.router.original:
            return sum(job.record.uid in self._made for job in self._jobs)
        sender = self._link.sender()
        return sum(job.record.sender == sender for job in self._jobs)

    async def link_ended(self) -> None:
        """Remove what was made over the link, side by side."""
        async with asyncio.TaskGroup() as group:
            for uid in self._made:
                group.create_task(self._remove(uid), name=f"end of {uid}")

    async def _remove(self, uid: JobUid) -> None:
        try:
            await self._find(uid).remove()
        except JobNotFound:
            pass
        except ProuterError as error:
            log.error("job %s, whose link ended, is not removed: %s", uid, error.detail)
        self._originals.stuck.discard(uid)

    def _find(self, job_uid: Any) -> Job:
        return self._jobs.find(str(job_uid))


def _start_request(args: Any, env: Any, cwd: Any, port_expected_count: Any, forward_stdout: Any) -> StartRequest:
    ports = [PortRequest().to_wire()] if port_expected_count else []
    wire = {"args": args, "env": env, "cwd": cwd, "forward_stdout": forward_stdout, "ports": ports}
    if not isinstance(cwd, str | None):
        raise InvalidRequest("Invalid request: the job working directory is a text")
    try:
        return StartRequest.from_wire(wire)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest("Invalid request: the start makes no sense") from error

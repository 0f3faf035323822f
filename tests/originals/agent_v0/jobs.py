"""Jobs of the imitation: their states, their sandboxes, whose link they came by."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from agent_v0.processes import JobProcess

PREFIX = "DA__PAGENT__"
NEW, PENDING, RUNNING, FINISHED = "NEW", "PENDING", "RUNNING", "FINISHED"


class JobNotFoundError(Exception):
    pass


class JobInvalidStateError(Exception):
    pass


@dataclass
class Job:
    """`connection_id` is that of the link over which it was created: the job ends with it."""

    uid: str
    name: str
    sandbox: Path
    sender: dict[str, Any]
    connection_id: str
    process: JobProcess = field(default_factory=JobProcess)
    started: bool = False
    start_failed: bool = False
    start_done: bool = False

    @property
    def state(self) -> str:
        if self.start_failed or self.process.ended.is_set():
            return FINISHED
        if self.start_done:
            return RUNNING
        return PENDING if self.started else NEW

    @property
    def port(self) -> int | None:
        return self.process.port if self.state == RUNNING else None

    def info(self) -> dict[str, Any]:
        return {"uid": self.uid, "name": self.name, "state": self.state, "sender": self.sender}


class Jobs:
    """All jobs of the agent, in a directory of its own below `root`."""

    def __init__(self, root: Path | None, properties: Mapping[str, str], port_seconds: float) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pagent-", dir=root))
        self.report_url = ""
        self._properties = properties
        self._port_seconds = port_seconds
        self._jobs: dict[str, Job] = {}

    def all(self) -> list[Job]:
        return list(self._jobs.values())

    def find(self, uid: Any) -> Job:
        """Raises JobNotFoundError."""
        try:
            return self._jobs[uid]
        except (KeyError, TypeError):
            raise JobNotFoundError(f"job '{uid}' is not found") from None

    def of_connection(self, connection_id: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.connection_id == connection_id]

    def create(self, name: str | None, sender: dict[str, Any], connection_id: str) -> Job:
        uid = uuid.uuid4().hex
        job = Job(uid, name or "<unnamed job>", self.directory / uid, sender, connection_id)
        job.sandbox.mkdir()
        self._jobs[uid] = job
        return job

    async def start(
        self,
        job: Job,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | None,
        port_expected_count: int,
        forward_stdout: bool,
    ) -> None:
        """Raises what job_start of the original raises."""
        if job.started:
            raise JobInvalidStateError("job cannot be restarted")
        job.started = True
        directory = PurePath(cwd or "")
        if directory.is_absolute():
            # The job stays PENDING for ever, as the original's does.
            raise ValueError("job working directory path must be relative")
        environ = self._environment(job, env, with_port=bool(port_expected_count))
        where = (environ, job.sandbox / directory)
        seconds = self._port_seconds if port_expected_count else None
        try:
            if forward_stdout:
                await job.process.start(args, *where, (None, None), seconds)
            else:
                with (
                    (job.sandbox / ".pagent.stdout").open("wb") as out,
                    (job.sandbox / ".pagent.stderr").open("wb") as err,
                ):
                    await job.process.start(args, *where, (out, err), seconds)
        except BaseException:
            job.start_failed = True
            raise
        job.start_done = True

    def _environment(self, job: Job, env: Mapping[str, str] | None, *, with_port: bool) -> dict[str, str]:
        environ = dict(os.environ) | {PREFIX + name: value for name, value in self._properties.items()}
        if with_port:
            environ |= {PREFIX + "JOB_ENDPOINT": self.report_url, PREFIX + "JOB_ID": job.uid}
        return environ | dict(env or {})

    async def wait(self, job: Job) -> None:
        """At once for a job that never had a process."""
        if job.process.running:
            await job.process.ended.wait()

    async def remove(self, job: Job) -> None:
        await job.process.kill()
        await asyncio.to_thread(shutil.rmtree, job.sandbox, ignore_errors=True)
        self._jobs.pop(job.uid, None)

    async def remove_of_connection(self, connection_id: str) -> None:
        for job in self.of_connection(connection_id):
            await self.remove(job)

    async def close(self) -> None:
        for job in self.all():
            await self.remove(job)
        shutil.rmtree(self.directory, ignore_errors=True)

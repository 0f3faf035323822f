"""What pipes can be bound to on this agent: ports of jobs, and the agent's own HTTP service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from prouter.agent.files.sandbox import SandboxOpener
from prouter.agent.jobs.ending import is_cut
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.service import Service
from prouter.errors import JobInvalidState, JobNotFound, PortNotFound, UpstreamFailed
from prouter.model.ids import JobUid
from prouter.model.jobs import JobState, Port
from prouter.model.reached import ReachedPort
from prouter.pipe.bind import BindRefused, JobBinding
from prouter.pipe.pair import Connect, JobSocket


class PipeTargets:
    """Implements pipe.agent_end.Targets and model.reached.JobPorts. The service comes when the plugins have named
    their routes."""

    def __init__(self, jobs: JobRegistry, sandboxes: SandboxOpener) -> None:
        self.service: Service | None = None
        self._jobs = jobs
        self._sandboxes = sandboxes

    def job(self, binding: JobBinding) -> JobSocket | BindRefused:
        try:
            job = self._jobs.find(binding.job)
        except JobNotFound as error:
            return BindRefused(404, error.detail)
        record = job.record
        if record.state is not JobState.RUNNING:
            return BindRefused(409, f"the job is {record.state.value} and serves nothing")
        port = record.ports.get(binding.port)
        if port is None:
            return BindRefused(404, f"the job has no port {binding.port!r}")
        return JobSocket(self._connector(job, port), partial(is_cut, job), job.flows)

    @asynccontextmanager
    async def reach(self, job: JobUid, port: str | None = None) -> AsyncIterator[ReachedPort]:
        """As model.reached.JobPorts says."""
        found = self._jobs.find(job)
        record = found.record
        if record.state is not JobState.RUNNING:
            raise JobInvalidState(f"job {job!r} serves nothing: it is {record.state.value}")
        wanted = record.default_port() if port is None else record.ports.get(port)
        if wanted is None:
            raise PortNotFound(f"job {job!r} has no port {port!r}" if port else f"job {job!r} has no port")
        flows = found.flows
        flows.connections += 1
        try:
            if wanted.socket is None:
                yield ReachedPort(wanted.number, wanted.host, None, flows.inward, flows.outward)
                return
            async with AsyncExitStack() as held:
                try:
                    opening = self._sandboxes.socket(found.directory.sandbox, wanted.socket)
                    place = await held.enter_async_context(opening)
                except OSError as error:
                    why = error.strerror or "it can not be reached"
                    raise UpstreamFailed(f"nothing answers at the job's socket: {why}") from None
                yield ReachedPort(None, wanted.host, place, flows.inward, flows.outward)
        finally:
            flows.connections -= 1

    def _connector(self, job: Job, port: Port) -> Connect:
        if port.socket is not None:
            sandbox, path = job.directory.sandbox, port.socket
            return lambda made: self._sandboxes.connect(sandbox, path, made)
        loop = asyncio.get_running_loop()
        number = port.number
        assert number is not None
        return lambda made: loop.create_connection(made, port.host, number)

    @property
    def served(self) -> int:
        return self.service.pipes if self.service is not None else 0

    def serving(self) -> list[asyncio.Transport]:
        return self.service.open_pipes() if self.service is not None else []

    def serve(self, transport: asyncio.Transport, leftover: bytes) -> None:
        if self.service is None:
            transport.abort()
        else:
            self.service.take(transport, leftover)

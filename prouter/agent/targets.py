"""What pipes can be bound to on this agent: ports of jobs, and the agent's own HTTP service."""

from __future__ import annotations

import asyncio

from prouter.agent.files.sandbox import SandboxOpener
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.service import Service
from prouter.errors import JobNotFound
from prouter.model.jobs import JobState, Port
from prouter.pipe.agent_end import Connect, JobSocket
from prouter.pipe.bind import BindRefused, JobBinding


class PipeTargets:
    """Implements pipe.agent_end.Targets. The service comes when the plugins have named their routes."""

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
        return JobSocket(self._connector(job, port), job.is_cut, job.flows)

    def _connector(self, job: Job, port: Port) -> Connect:
        if port.socket is not None:
            sandbox, path = job.directory.sandbox, port.socket
            return lambda made: self._sandboxes.connect(sandbox, path, made)
        loop = asyncio.get_running_loop()
        number = port.number
        assert number is not None
        return lambda made: loop.create_connection(made, port.host, number)

    def serve(self, transport: asyncio.Transport, leftover: bytes) -> None:
        if self.service is None:
            transport.abort()
        else:
            self.service.take(transport, leftover)

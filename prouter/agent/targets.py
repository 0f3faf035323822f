"""What pipes can be bound to on this agent: ports of jobs, and the agent's own HTTP service."""

from __future__ import annotations

import asyncio

from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.service import Service
from prouter.errors import JobNotFound
from prouter.model.jobs import JobState
from prouter.pipe.agent_end import JobSocket
from prouter.pipe.bind import BindRefused, JobBinding


class PipeTargets:
    """Implements pipe.agent_end.Targets. The service comes when the plugins have named their routes."""

    def __init__(self, jobs: JobRegistry) -> None:
        self.service: Service | None = None
        self._jobs = jobs

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
        path = str(job.directory.sandbox / port.socket) if port.socket is not None else None
        return JobSocket(port.number, path, job.is_cut)

    def serve(self, transport: asyncio.Transport, leftover: bytes) -> None:
        if self.service is None:
            transport.abort()
        else:
            self.service.take(transport, leftover)

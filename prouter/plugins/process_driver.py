"""Runs jobs as processes of this machine, each tree held by a guardian."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookimpl
from prouter.model.ids import JobUid
from prouter.model.plugin import Driver, LaunchRequest, Running
from prouter.model.process import Exit
from prouter.model.services import AgentHost


class ProcessDriver:
    """Plugin `process_driver`, and its one driver."""

    name = "process"

    def __init__(self) -> None:
        self._agent: AgentHost | None = None

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent

    @hookimpl
    def prouter_drivers(self) -> Sequence[Driver]:
        return [self]

    async def start(self, request: LaunchRequest) -> Running:
        assert self._agent is not None
        return await self._agent.guarded.launch(request)

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        assert self._agent is not None
        return await self._agent.guarded.recover(job, job_directory)

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        assert self._agent is not None
        await self._agent.guarded.destroy(job, job_directory)

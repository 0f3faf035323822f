"""What plugins of the agent can ask of it: its jobs, what they wrote, and process trees held by guardians.

Protocols, implemented by the agent. The bundle in which a plugin gets them is `AgentHost` (services.py), from where
plugins import them, too. The files of a job are in sandbox_files.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from prouter.model.access import Refusal
from prouter.model.activity import Activity
from prouter.model.drivers import LaunchRequest, Running
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord
from prouter.model.output import OutputPiece, OutputStream
from prouter.model.process import Exit
from prouter.model.sandbox_files import SandboxFiles


class Guarded(Protocol):
    """Process trees held by guardians: they end with the agent, whatever happens to it, unless jobs survive it."""

    async def launch(self, request: LaunchRequest) -> Running: ...

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        """After a restart of the agent: the tree when its guardian has waited (`jobs.survive_agent`); else how it ended
        if that is known, and nothing of it is left on return."""

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        """Of a job that is deleted: whatever is left of its tree is gone on return. May be called again."""


class JobOutput(Protocol):
    """What a job wrote to its standard streams; without a stream: both, in the order in which they were read."""

    async def end(self, stream: OutputStream | None) -> int:
        """The offset behind the newest byte."""

    async def tail(self, stream: OutputStream | None, lines: int) -> int:
        """The offset where the last lines begin."""

    @property
    def run(self) -> int:
        """The number of the job's run that is the current one, or the one to come; from 1 on."""

    def read(
        self, stream: OutputStream | None, offset: int, *, follow: bool, run: int | None = None
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        """Pieces from `offset` on, as many as one look finds, gaps where bytes were dropped. Nothing is read ahead.

        With `follow` it ends when the job has ended and all was read, or with that `run` (the current one without);
        a job that was not started yet is waited for, and after some seconds of silence there is an empty sequence, so
        that the reader can show that it is alive.

        Raises Conflict for an earlier run of which is not known where it ended, JobNotFound when the job is removed
        meanwhile.
        """


class AgentJobs(Protocol):
    """The jobs of this agent."""

    def get(self, job: JobUid) -> JobRecord:
        """Raises JobNotFound."""

    def files(self, job: JobUid) -> AbstractAsyncContextManager[SandboxFiles]:
        """The job's sandbox, held open for the length of one request. Raises JobNotFound."""

    def output(self, job: JobUid) -> JobOutput:
        """Raises JobNotFound."""

    def changes(self) -> AsyncIterator[JobRecord]: ...

    def list(self) -> Sequence[JobRecord]: ...

    def activity(self, job: JobUid) -> Activity:
        """What went through its ports until now. Raises JobNotFound."""

    async def cpu_seconds(self, job: JobUid) -> float | None:
        """CPU time of its tree; None without one, and where it can not be told. Raises JobNotFound."""

    async def may_end_idle(self, job: JobUid, idle_seconds: float) -> Refusal | None:
        """Asked before a job is ended for doing nothing: why it is to be kept, in the words of the plugin that objects
        (prouter_job_idle). Raises JobNotFound, and PluginFailure: then it is to be kept, too.
        """

    async def stop(self, job: JobUid) -> JobRecord:
        """SIGTERM, and the end of its tree after the agent's own grace.

        Raises JobNotFound, JobInvalidState, TimedOut.
        """

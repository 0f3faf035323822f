"""What starts and ends the process trees of jobs on an agent (prouter_agent_drivers), and what it is given and gives.

Plugins import them from plugin.py. Who asks drivers is in agent/jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prouter.model.api_version import added
from prouter.model.ids import JobUid
from prouter.model.process import Command, Exit


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What a driver is to start: everything is resolved (environment whole, cwd absolute)."""

    job: JobUid
    job_directory: str
    """Absolute; the job's own directory, 0700. The sandbox is `sandbox` in it."""
    command: Command


class Running(Protocol):
    """A process tree that a driver started."""

    @property
    def pid(self) -> int: ...

    async def signal(self, number: int) -> None:
        """To the main process's group."""

    async def kill(self, reason: str) -> Exit:
        """End the whole tree; on return it is gone. `reason` is the job's reason when nothing else ended it first."""

    async def wait(self) -> Exit:
        """Until the main process is over and the rest of its tree is gone. May be awaited by several."""

    async def ports(self, only: int | None = None) -> Mapping[int, Sequence[str]]:
        """TCP ports on which processes of this tree listen (of `only` that one); empty where that can not be told.

        For each the loopback addresses, 127.0.0.1 or ::1, at which a connection comes to this tree and to nobody else,
        in the order in which they are tried; none for a port of other addresses.
        """

    async def cpu_seconds(self) -> float | None:
        """CPU time that this tree has used, processes that are gone included; None where that can not be told."""

    async def last_output(self, lines: int) -> str:
        """The newest lines of both streams, at most 8 KiB, for messages to people."""

    async def exiting(self) -> bool:
        """Whether the main process is going down right now (so that an end of stream is a cut)."""


class Driver(Protocol):
    """Starts and ends process trees on the agent."""

    @property
    def name(self) -> str: ...

    async def start(self, request: LaunchRequest) -> Running:
        """Raises ProgramMissing (naming it) or StartFailed; nothing of it is left then."""

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        """After a restart of the agent: the tree if it lives on, how it ended if that is known, else None."""

    @added
    async def destroy(self, job: JobUid, job_directory: str) -> None:
        """A job that this driver started is deleted, or runs anew by another driver: end and remove what is left of it
        outside of its directory.

        Its process is over as far as is known; called again when a deletion was cut short.
        """

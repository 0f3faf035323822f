"""A job's port as a plugin of the agent connects to it by itself."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from prouter.model.activity import Flow
from prouter.model.ids import JobUid


@dataclass(frozen=True, slots=True)
class ReachedPort:
    """Where a job's port is connected to, and where the bytes of such a connection are counted."""

    number: int | None
    """TCP port on the loopback; None for a unix socket."""
    host: str
    """The address of the loopback that belongs to it."""
    socket: str | None
    """Path of a unix socket; good for as long as the port is reached."""
    inward: Flow
    outward: Flow


class JobPorts(Protocol):
    """The ports of this agent's jobs."""

    def reach(self, job: JobUid, port: str | None = None) -> AbstractAsyncContextManager[ReachedPort]:
        """For one connection to a port (None: the default port), which counts as open in the job's activity.

        Raises JobNotFound, PortNotFound, JobInvalidState (it serves nothing), UpstreamFailed (its socket is gone).
        """

"""What goes through a job's ports: counted by the agent, told to routers now and then, shown in a JobInfo.

A connection that is open and carries nothing is no activity; a websocket's pings are, since they are bytes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prouter.model.times import rfc3339

FAR_SECONDS = 1e11
"""From the epoch: no clock shows such a time."""


@dataclass(frozen=True, slots=True)
class Activity:
    """The counts at one moment. They go on over a restart of the job and begin anew with the agent."""

    connections: int = 0
    """Open to the job's ports now, those included that a router keeps for a next request."""
    bytes_in: int = 0
    """From clients to the job, heads of requests included."""
    bytes_out: int = 0
    """From the job to clients."""
    last_at: float | None = None
    """When the last byte came, in seconds since the epoch; None: never."""

    def to_wire(self) -> Sequence[Any]:
        return [self.connections, self.bytes_in, self.bytes_out, self.last_at]

    @classmethod
    def from_wire(cls, value: Sequence[Any]) -> Activity:
        """Raises ValueError, TypeError."""
        connections, bytes_in, bytes_out, last_at = value
        try:
            told = cls(int(connections), int(bytes_in), int(bytes_out), None if last_at is None else float(last_at))
            if told.last_at is not None and not abs(told.last_at) < FAR_SECONDS:
                raise ValueError
            told.shown()
        except (OverflowError, OSError, ValueError) as error:
            raise ValueError(f"these are no counts and no time: {value}") from error
        return told

    def shown(self) -> dict[str, Any]:
        """As in a JobInfo."""
        return {
            "last_activity": rfc3339(self.last_at),
            "connections": self.connections,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }


@dataclass(slots=True)
class Flow:
    """Bytes that went one way."""

    count: int = 0
    last_at: float = 0.0

    def passed(self, count: int) -> None:
        """On the way of every chunk: an addition and a look at the clock."""
        self.count += count
        self.last_at = time.time()


@dataclass(slots=True)
class Flows:
    """What a job's connections add to while they run."""

    connections: int = 0
    inward: Flow = field(default_factory=Flow)
    outward: Flow = field(default_factory=Flow)

    def now(self) -> Activity:
        last_at = max(self.inward.last_at, self.outward.last_at) or None
        return Activity(self.connections, self.inward.count, self.outward.count, last_at)

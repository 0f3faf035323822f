"""What is on disk of one job beside the record itself: keys of requests, and since when it has ended.

Belongs here: the order of writes, and the clock by which a finished job grows old. Does not: how a file is replaced
(records.py), what a key means (once.py), when a finished job is removed (finished.py).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.jobs.once import Once
from prouter.agent.jobs.records import NOT_WRITTEN, JobDirectory
from prouter.model.ids import new_uid
from prouter.model.jobs import MAX_TIME, JobRecord

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
THIS_PROCESS = new_uid()


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time that no change of the clock moves, as long as the machine runs."""

    machine: str
    """One id for each start of the machine, or of this process where that of the machine can not be told."""
    seconds: float
    """Of a clock that only goes forward, also while the machine sleeps."""

    @classmethod
    def now(cls) -> Moment:
        if sys.platform != "linux":
            return cls(THIS_PROCESS, time.monotonic())
        return cls(_machine(), time.clock_gettime(time.CLOCK_BOOTTIME))

    def to_wire(self) -> list[Any]:
        return [self.machine, self.seconds]

    @classmethod
    def from_wire(cls, value: Any) -> Moment | None:
        """None: there is none."""
        match value:
            case [str(machine), float(seconds) | int(seconds)] if abs(seconds) < MAX_TIME:
                return cls(machine, float(seconds))
        return None


@functools.cache
def _machine() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return THIS_PROCESS


class Kept:
    """The record file of one job. What was asked to be saved last is what stays, however the writes were cut short."""

    def __init__(self, directory: JobDirectory, beside: Mapping[str, Any]) -> None:
        """`beside` is what an earlier run wrote beside the record."""
        self.once = Once(beside)
        self._directory = directory
        self.stopping = _stopping(beside.get("stopping"))
        """The signal and the grace in seconds of a stop that is under way."""
        self.run = beside.get("run")
        """Which run is the current one (runs.py)."""
        self._ended_at = Moment.from_wire(beside.get("ended_at"))
        self._here_since = Moment.now()
        self._here_at = time.time()
        self._alone = threading.Lock()
        self._asked = 0
        self._written = 0

    @property
    def behind(self) -> bool:
        """Whether what was asked to be saved last found no room."""
        return self._written < self._asked

    def begin_run(self) -> None:
        """Nothing of what was kept of the run before is the next one's, however soon that ends."""
        self.stopping = self._ended_at = None

    async def save(self, record: JobRecord) -> None:
        """On return it is on disk. Raises NoRoom, Unavailable; the old one is there then."""
        if not record.ended:
            self._ended_at = None
        elif self._ended_at is None:
            self._ended_at = Moment.now()
        self._asked += 1
        await asyncio.to_thread(self._write, self._asked, record, self._beside(record))

    def _beside(self, record: JobRecord) -> dict[str, Any]:
        ended_at = self._ended_at.to_wire() if self._ended_at is not None else None
        stopping = list(self.stopping) if self.stopping is not None and not record.ended else None
        return self.once.to_wire() | {"ended_at": ended_at, "stopping": stopping, "run": self.run}

    async def remember(self, record: JobRecord) -> None:
        """That something is about to be done to a job, which must be possible on a full disk, too: then it is forgotten
        with this run of the agent."""
        try:
            await self.save(record)
        except NOT_WRITTEN as error:
            log.warning("what is asked of job %s is not on disk: %s", record.uid, error.detail)

    def age_seconds(self, record: JobRecord) -> float:
        """How long ago a job ended, however the clock was set meanwhile. Across a restart of the machine the clock is
        all there is: what it said when this run of the agent found the job."""
        now, ended = Moment.now(), self._ended_at
        if ended is not None and ended.machine == now.machine:
            return max(0.0, now.seconds - ended.seconds)
        found = self._here_at - (record.finished_at or self._here_at)
        return max(0.0, found) + now.seconds - self._here_since.seconds

    def _write(self, number: int, record: JobRecord, beside: Mapping[str, Any]) -> None:
        """In a thread, which goes on when its caller is cancelled: an older one may come behind a newer one."""
        with self._alone:
            if number > self._written:
                self._directory.write(record, beside)
                self._written = number


def _stopping(value: Any) -> tuple[int, float] | None:
    match value:
        case [int(number), float(grace_seconds) | int(grace_seconds)] if abs(grace_seconds) < MAX_TIME:
            return number, float(grace_seconds)
    return None

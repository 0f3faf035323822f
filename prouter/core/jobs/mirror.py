"""What the router knows of one agent's jobs: a mirror of the agent's own records, never the truth itself.

Fed by the agent's watch stream over its newest link; read by everybody; survives a lost link, so that a wait that is
open goes on when the agent is back.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from prouter.errors import JobNotFound, ProuterError, RemoteProtocolError
from prouter.model import job_machine
from prouter.model.activity import Activity
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, JobState, Reason

MAX_REMOVED = 4096
"""Removals that are remembered for each agent. News are late by some turns of a loop, not by thousands of jobs."""

MAX_UID_CHARACTERS = 256
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]*")
"""What stands in a path as it is, and leads to no other job: agents other than ours may not make 32 hex digits."""
RECORD_BYTES = 1024
"""What a record costs beside its texts."""

_Made = tuple[JobUid, float | None]
"""One job and no other: a uid that a client chose can come again, for a job that is made later."""


class JobMirror:
    """The jobs of one agent.

    What is always true: a record is replaced only by one of a higher revision of the same agent's boot; a job that is
    removed is forgotten, and older news of it (answers travel beside the watch) do not bring it back; everybody who
    waits for a change is told of each.
    """

    def __init__(self, told: Callable[[JobRecord], None], max_bytes: float = math.inf) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        """Of all records, about: an agent may tell of as many as it likes."""
        self._records: dict[JobUid, JobRecord] = {}
        self._removed: dict[_Made, None] = {}
        """Oldest first."""
        self._lost: dict[JobUid, float] = {}
        """Jobs that went with their agent, of which nobody else knows, and since when (monotonic); oldest first."""
        self._activities: dict[JobUid, Activity] = {}
        """What was told last of what goes through their ports, of known jobs only; no change of a job."""
        self._waiting: dict[JobUid, set[asyncio.Future[JobRecord | None]]] = {}
        self._told = told
        self._failure: ProuterError | None = None

    def __iter__(self) -> Iterator[JobRecord]:
        return iter(list(self._records.values()))

    def __contains__(self, job: JobUid) -> bool:
        return job in self._records

    def __len__(self) -> int:
        return len(self._records)

    @property
    def waiting(self) -> int:
        """Calls that wait for a change of a job."""
        return sum(map(len, self._waiting.values()))

    @property
    def size_bytes(self) -> int:
        """What the records take, about."""
        return self._bytes

    @property
    def records(self) -> Mapping[JobUid, JobRecord]:
        """As they are at any moment."""
        return self._records

    def record(self, job: JobUid) -> JobRecord | None:
        """None: there is no such job."""
        return self._records.get(job)

    def get(self, job: JobUid) -> JobRecord:
        """Raises JobNotFound."""
        try:
            return self._records[job]
        except KeyError:
            raise JobNotFound(job) from None

    def activity(self, job: JobUid) -> Activity:
        """As it was told last; an agent tells nothing of a job without any."""
        return self._activities.get(job, Activity())

    def note(self, job: JobUid, activity: Activity) -> bool:
        """From the agent: what goes through a job's ports. Whether that is news of a job that is known."""
        if job not in self._records or self._activities.get(job) == activity:
            return False
        self._activities[job] = activity
        return True

    def apply(self, record: JobRecord) -> None:
        """News from the agent; older news than what is known is dropped.

        Raises RemoteProtocolError beyond the bound: then nothing changed.
        """
        self._apply(record, self._max_bytes)

    def _apply(self, record: JobRecord, max_bytes: float) -> None:
        if _made(record) in self._removed:
            return
        known = self._records.get(record.uid)
        if known is not None and _made(known) != _made(record):  # of the removal in between nobody told
            self._close(known, job_machine.closed(known))
            known = None
        if known is not None and not _newer(record, known):
            return
        if record.state is JobState.CLOSED:
            self._close(known, record)
            return
        grown = size_bytes(record) - (size_bytes(known) if known is not None else 0)
        check_size(record, self._bytes + grown if grown > 0 else 0, max_bytes)
        self._bytes += grown
        self._records[record.uid] = record
        self._lost.pop(record.uid, None)
        self._tell(record)

    def _close(self, known: JobRecord | None, closed: JobRecord) -> None:
        if len(closed.uid) <= MAX_UID_CHARACTERS:
            self._removed[_made(closed)] = None
        while len(self._removed) > MAX_REMOVED:
            del self._removed[next(iter(self._removed))]
        if known is not None:
            self._bytes -= size_bytes(self._records.pop(closed.uid))
            self._activities.pop(closed.uid, None)
            self._lost.pop(closed.uid, None)
            self._tell(closed)

    def _tell(self, record: JobRecord) -> None:
        self._wake(record.uid, record)
        self._told(record)

    def reconcile(self, records: Iterable[JobRecord], *, same_boot: bool, removed: Iterable[JobRecord] = ()) -> None:
        """All that the agent has, after it came back: that is the truth from now on.

        A job that this boot of the agent does not know was removed; one that a newer boot does not know is lost, unless
        it is one of the `removed`, and the first to be forgotten where there is no room for both. What this boot has
        told already to be removed stays so: its list may have been made before. Raises RemoteProtocolError for records
        that do not fit (`check`): then nothing changed.
        """
        told = [record for record in records if record.state is not JobState.CLOSED]
        self.check(told)
        if not same_boot:
            self._activities.clear()
        present = {record.uid for record in told}
        gone = set(map(_made, removed))
        for job in [job for job in self._records if job not in present]:
            absent = self._records[job]
            if same_boot or absent.ended or _made(absent) in gone:
                self.apply(job_machine.closed(absent))
            else:
                self._lose(absent)
        for record in told:
            if not same_boot:
                self._removed.pop(_made(record), None)
            known = self._records.get(record.uid)
            if known == record:  # it is no news that an agent was started again
                self._lost.pop(record.uid, None)
                continue
            if known is not None and not same_boot and _made(known) == _made(record) and not _newer(record, known):
                self._bytes -= size_bytes(self._records.pop(record.uid))
            self._apply(record, math.inf)  # they fit, whatever is still there of the ones before
        while self._lost and self._bytes > self._max_bytes:
            self._forget(next(iter(self._lost)))

    def check(self, records: Iterable[JobRecord]) -> None:
        """Whether they can all be kept. Raises RemoteProtocolError."""
        taken = 0
        for record in records:
            taken += size_bytes(record)
            check_size(record, taken, self._max_bytes)

    def lose_all(self) -> None:
        """They went with their agent: what ran says so, what had ended is gone; what was lost before stays so."""
        for record in self:
            if record.ended and record.uid not in self._lost:
                self.apply(job_machine.closed(record))
            elif not record.ended:
                self._lose(record)

    def forget_lost(self, older_than_seconds: float) -> None:
        """Of jobs that were lost, which nobody else forgets."""
        for job, since in list(self._lost.items()):
            if time.monotonic() - since <= older_than_seconds:
                break
            self._forget(job)

    def _lose(self, record: JobRecord) -> None:
        self.apply(job_machine.ended(record, None, Reason.AGENT_LOST, time.time()))
        self._lost[record.uid] = time.monotonic()

    def _forget(self, job: JobUid) -> None:
        self.apply(job_machine.closed(self._records[job]))

    async def wait_ended(self, job: JobUid, timeout_seconds: float | None) -> JobRecord:
        """The record once the job has ended, or as it is at the timeout. A removal is an end: FINISHED, not CLOSED."""
        record = self.get(job)
        try:
            async with asyncio.timeout(timeout_seconds):
                while not record.ended:
                    record = await self._changed(job)
        except TimeoutError:
            return self._records.get(job, record)
        if record.state is JobState.CLOSED and record.reason is None:  # it was never started
            record = replace(record, reason=Reason.STOPPED, finished_at=time.time())
        return replace(record, state=JobState.FINISHED)

    async def wait_removed(self, job: JobUid, timeout_seconds: float) -> None:
        """Of a job that the agent said it removed: until the news of that came; without it, which travels beside the
        answer, the job counts as removed at the timeout, or when nothing is waited for any more."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while job in self._records:
                    await self._changed(job)
        except (TimeoutError, ProuterError):
            known = self._records.get(job)
            if known is not None:
                self.apply(job_machine.closed(known))

    def fail(self, failure: ProuterError) -> None:
        """The agent is gone for good, or the router ends: whoever waits is told so."""
        self._failure = failure
        for job in list(self._waiting):
            self._wake(job, None)

    async def _changed(self, job: JobUid) -> JobRecord:
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[JobRecord | None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(job, set())
        waiting.add(future)
        try:
            record = await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(job) is waiting:
                del self._waiting[job]
        if record is None:
            raise self._why(job)
        return record

    def _why(self, job: JobUid) -> ProuterError:
        """Why nothing more is known of a job."""
        return self._failure or JobNotFound(job)

    def _wake(self, job: JobUid, record: JobRecord | None) -> None:
        for future in self._waiting.pop(job, ()):
            if not future.done():
                future.set_result(record)


def size_bytes(record: JobRecord) -> int:
    """What a record takes in memory, about."""
    texts = (record.uid, record.name, record.asked, record.driver, *record.labels, *record.labels.values())
    many = RECORD_BYTES // 4 * (len(record.ports) + len(record.labels) + len(record.resources))
    sender = len(record.sender.uid) + len(record.sender.name) + len(record.sender.direction)
    return RECORD_BYTES + many + sender + sum(map(len, texts)) + sum(map(len, (*record.ports, *record.resources)))


def check_size(record: JobRecord, total_bytes: float, max_bytes: float) -> None:
    """Raises RemoteProtocolError for a uid that is none, and for records that take more than the bound together."""
    if len(record.uid) > MAX_UID_CHARACTERS or not _UID.fullmatch(record.uid):
        raise RemoteProtocolError(f"a job's uid is none: {record.uid[:64]!r}, {len(record.uid)} characters")
    if total_bytes > max_bytes:
        raise RemoteProtocolError(
            f"the records of its jobs take more than {max_bytes:g} bytes; remove some, or raise jobs.mirrored_bytes"
        )


def _made(record: JobRecord) -> _Made:
    return record.uid, record.created_at


def _newer(record: JobRecord, known: JobRecord) -> bool:
    return record.revision > known.revision

"""The life of a job as a pure machine: an event in, the next record out. Time is passed in.

::

    NEW ──start──> PENDING ──started──> RUNNING ──ended──> FINISHED ──start──x
     │                │ └──────ended (start failed)─────────^  ^  └──restart──> PENDING
     │                └──────────────lost────────────────────┘ │      any ──removed──> CLOSED
     └─────────────────────────────lost────────────────────────┘

What is always true: `reason` is set exactly in FINISHED (and in CLOSED when it had finished before); `started_at`
only after a process ran; `pid` and `ports` only in RUNNING; a record never leaves CLOSED.
"""

from __future__ import annotations

from collections.abc import Mapping

from prouter.errors import JobInvalidState
from prouter.model.jobs import JobRecord, JobState, Port, Reason


def begin_start(record: JobRecord, name: str | None) -> JobRecord:
    """A start was accepted. Raises JobInvalidState unless the job is NEW."""
    if record.state is not JobState.NEW:
        raise JobInvalidState(f"job {record.uid!r} can not be started: its state is {record.state.value}, not NEW")
    return record.changed(state=JobState.PENDING, name=name if name is not None else record.name)


def begin_restart(record: JobRecord) -> JobRecord:
    """A finished job is started again. Raises JobInvalidState unless it is FINISHED."""
    if record.state is not JobState.FINISHED:
        raise JobInvalidState(
            f"job {record.uid!r} can not be restarted: its state is {record.state.value}, not FINISHED"
        )
    return record.changed(state=JobState.PENDING, exit_code=None, reason=None, started_at=None, finished_at=None)


def process_runs(record: JobRecord, pid: int, now: float) -> JobRecord:
    """The main process runs; the job stays PENDING until its ports are served.

    A clock that was set back meanwhile makes no job that started before it was made.
    """
    _expect(record, JobState.PENDING)
    return record.changed(pid=pid, started_at=max(now, record.created_at or now))


def serves(record: JobRecord, ports: Mapping[str, Port]) -> JobRecord:
    """All that the start waited for is there."""
    _expect(record, JobState.PENDING)
    return record.changed(state=JobState.RUNNING, ports=dict(ports))


def ended(record: JobRecord, exit_code: int | None, reason: Reason, now: float) -> JobRecord:
    """The main process is over and its tree is gone, or it never ran. A job that has ended stays as it ended.

    A short process may be over before its start was told of: it has not finished before it started for all that.
    """
    if record.ended:
        return record
    now = max(now, record.started_at or record.created_at or now)
    return record.changed(
        state=JobState.FINISHED, exit_code=exit_code, reason=reason, finished_at=now, pid=None, ports={}
    )


def closed(record: JobRecord) -> JobRecord:
    """The job was removed."""
    if record.state is JobState.CLOSED:
        return record
    return record.changed(state=JobState.CLOSED, pid=None, ports={})


def _expect(record: JobRecord, state: JobState) -> None:
    if record.state is not state:
        raise JobInvalidState(f"job {record.uid!r} is {record.state.value}, not {state.value}")

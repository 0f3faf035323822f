"""A disk that is full or fails: a start that it can not take changes nothing, an end that it could not take comes
later.

Belongs here: looking whether there is room, and trying again until there is. Does not: how a record is written
(records.py, kept.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prouter.agent.jobs.records import NOT_WRITTEN, PROBE, not_written
from prouter.errors import NoRoom

if TYPE_CHECKING:
    from prouter.agent.jobs.job import Job

log = logging.getLogger(__name__)

START_BYTES = 32768
"""What the files of a run take until its output begins."""
START_FILES = 8
"""Those, and what replaces them."""
FIRST_SECONDS = 0.2
MOST_SECONDS = 5.0
"""Between two tries to write what found no room."""


def check_room(directory: Path) -> None:
    """Whether a run can begin in this job's directory. Blocks. Raises NoRoom, Unavailable."""
    probe = directory / PROBE
    try:
        try:
            with probe.open("wb") as file:
                file.write(bytes(START_BYTES))
                file.flush()
                os.fsync(file.fileno())  # where that fails the run's own files will, and the job would have ended
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        files = os.statvfs(directory) if hasattr(os, "statvfs") else None
    except FileNotFoundError:  # it is being removed, which others tell
        return
    except OSError as error:
        raise not_written(error, "there is no room to start the job, which is as it was") from error
    if files is not None and files.f_files and files.f_ffree < START_FILES:
        raise NoRoom(
            f"there is no room to start the job, which is as it was: its disk takes {files.f_ffree} more files"
        )


async def save_now_or_later(job: Job) -> None:
    """What `job.record` says is on disk on return, or as soon as there is room: nothing that is true waits for that."""
    try:
        await job.kept.save(job.record)
    except NOT_WRITTEN as error:
        if not job.removing:  # else its directory may be gone already
            uid, state = job.record.uid, job.record.state.value
            log.error("that job %s is %s is not on disk yet: %s", uid, state, error.detail)
            job.around.tasks.start(f"late record of {uid}", _save_later(job))


async def save_what_is_behind(jobs: Iterable[Job]) -> None:
    """A last time, at the end of the agent: what it cleaned has made room."""
    for job in jobs:
        if job.kept.behind:
            with contextlib.suppress(*NOT_WRITTEN):
                await job.kept.save(job.record)


async def _save_later(job: Job) -> None:
    """Until it is on disk, or another record has taken its place."""
    record, wait_seconds = job.record, FIRST_SECONDS
    while True:
        await asyncio.sleep(wait_seconds)
        if job.removing or job.record is not record:
            return
        try:
            await job.kept.save(record)
        except NOT_WRITTEN:
            wait_seconds = min(2 * wait_seconds, MOST_SECONDS)
        else:
            log.info("that job %s is %s is on disk now", record.uid, record.state.value)
            return

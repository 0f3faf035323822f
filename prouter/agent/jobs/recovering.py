"""What becomes of an unfinished job when an agent starts: it ended meanwhile, is lost, or goes on and is taken over.

Belongs here: asking its driver, and what its answer means. Does not: reading records (registry.py), how a guardian is
found that waited (guard/adoption.py), the job's life from there (job.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prouter.agent.jobs.drivers import USUAL
from prouter.agent.jobs.ending import reason_of
from prouter.agent.jobs.held import HeldDriver, HeldRunning
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.room import save_now_or_later
from prouter.agent.jobs.surroundings import Surroundings
from prouter.errors import Conflict, ProuterError, Unavailable
from prouter.model import job_machine
from prouter.model.ids import JobUid
from prouter.model.jobs import JobState, Reason
from prouter.model.process import Exit
from prouter.pluginkit import context

log = logging.getLogger(__name__)

UNTIL_LINK_ENDS = "until its link ends"
"""`asked` of a job that an original router made: it goes with the link that it was made over."""
RECOVER_SECONDS = 25.0
"""For a driver to find what lives on, or to end what does not: a guardian that hangs is given a while."""
ADOPT_SECONDS, AGAIN_SECONDS = 10.0, 0.2
"""For what an agent has again soon to be there, and between two tries."""
LOST = (Reason.AGENT_LOST, Reason.START_FAILED)
"""Ends of a tree that its agent began and could not tell anybody of."""


async def recovered(job: Job, around: Surroundings, beside: Mapping[str, Any]) -> Job:
    """An unfinished job of an earlier run of the agent, as it is now."""
    record, directory = job.record, job.directory
    survives = around.survive and record.asked != UNTIL_LINK_ENDS
    found: HeldRunning | Exit | None = None
    is_known = True
    if record.state is JobState.NEW:
        if survives and not await asyncio.to_thread(directory.is_being_made):
            return job
    else:
        try:
            found = await _found(job, around, survives)
        except Unavailable:
            is_known = False
    if found is not None and not isinstance(found, Exit):
        with context.about(job=record.uid):
            log.info("job %s outlived its agent (pid %s)", record.uid, found.pid)
        return job
    known = found is not None and found.reason in set(Reason)
    reason = reason_of(found, stopping=job.kept.stopping is not None) if found and known else Reason.AGENT_LOST
    if found is not None and reason not in LOST:
        record = job_machine.ended(record, found.exit_code, reason, found.finished_at)
    else:
        exit_code = found.exit_code if found is not None else None
        record = job_machine.ended(record, exit_code, Reason.AGENT_LOST, time.time())
        if is_known:  # else it may have ended well, and what it made is all that there is of it
            await job.clean_sandbox()
    job = Job(record, directory, around, beside)
    await save_now_or_later(job)
    with context.about(job=record.uid):
        log.warning("job %s was unfinished when the agent ended: %s", record.uid, record.reason)
    return job


async def _found(job: Job, around: Surroundings, survives: bool) -> HeldRunning | Exit | None:
    """By the driver that started it: what goes on is the job's then, and nothing else runs, if the driver can tell.

    None: nobody knows. Raises Unavailable: nobody can tell now, for want of descriptors, memory or a disk that reads.
    """
    record = job.record
    driver = around.drivers.of(record.driver)
    if driver is None:
        log.error(
            "what became of job %s is not known: no plugin offers its driver %r any more",
            record.uid,
            record.driver or USUAL,
        )
        return None
    found: HeldRunning | Exit | None = None
    try:
        async with asyncio.timeout(RECOVER_SECONDS):
            found = await driver.recover(record.uid, str(job.directory.path))
            if found is None or isinstance(found, Exit):
                return found
            if survives:
                try:
                    await _adopted(job, driver, found)
                except Conflict as error:  # how it was started can not be read
                    log.error("job %s can not be taken over: %s", record.uid, error.detail)
                else:
                    return found
            return await found.kill(Reason.AGENT_LOST.value)
    except Exception as error:  # no job keeps the agent from starting, whatever is in its directory
        log.error("what became of job %s is not known: %s", record.uid, str(error) or "no answer in time")
        await _destroyed(job, driver)
        if isinstance(error, Unavailable):
            raise
        if isinstance(found, HeldRunning) and await _is_there_still(job, driver, found):
            return found
        return None


async def end_torn(job: JobUid, directory: Path, drivers: Iterable[HeldDriver]) -> None:
    """What runs of a job whose record is torn, and is in this directory now: nobody could be told of it, or end it.
    Any driver may have begun it; what keeps one from ending it is in the log."""
    for driver in drivers:
        try:
            async with asyncio.timeout(RECOVER_SECONDS):
                found = await driver.recover(job, str(directory))
                if isinstance(found, HeldRunning):
                    await found.kill(Reason.AGENT_LOST.value)
        except Exception as error:  # noqa: BLE001 -- no job keeps the agent from starting
            log.error("what is left of job %s may go on: %s", job, str(error) or "no answer in time")


async def _destroyed(job: Job, driver: HeldDriver) -> None:
    """What is told to be lost must not go on. What keeps it from being looked for is in the log."""
    try:
        async with asyncio.timeout(RECOVER_SECONDS):
            await driver.destroy(job.record.uid, str(job.directory.path))
    except Exception as error:  # noqa: BLE001 -- nor does this
        log.error("what is left of job %s may go on: %s", job.record.uid, str(error) or "no answer in time")


async def _is_there_still(job: Job, driver: HeldDriver, found: HeldRunning) -> bool:
    """Whether something could not be ended: then the job has not, before that is gone."""
    try:
        if job.record.asked == UNTIL_LINK_ENDS or await found.exiting():
            return False
        job.ending = Reason.AGENT_LOST
        await _adopted(job, driver, found)
    except ProuterError as error:
        log.error("what is left of job %s is not waited for: %s", job.record.uid, error.detail)
        return False
    return True


async def _adopted(job: Job, driver: HeldDriver, found: HeldRunning) -> None:
    """Raises Conflict, and Unavailable when it is so for long."""
    until = asyncio.get_running_loop().time() + ADOPT_SECONDS
    while True:
        try:
            await job.adopt(driver, found)
        except Unavailable as error:
            if asyncio.get_running_loop().time() > until:
                raise
            log.warning("job %s can not be taken over yet: %s", job.record.uid, error.detail)
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return

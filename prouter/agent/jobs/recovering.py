"""What becomes of an unfinished job when an agent starts: it ended meanwhile, is lost, or goes on and is taken over.

Belongs here: asking its driver, and what its answer means. Does not: reading records (registry.py), how a guardian is
found that waited (guard/adoption.py), the job's life from there (job.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prouter.agent.jobs.drivers import USUAL
from prouter.agent.jobs.ending import reason_of
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.room import save_now_or_later
from prouter.agent.jobs.surroundings import Surroundings
from prouter.errors import Conflict, ProuterError
from prouter.model import job_machine
from prouter.model.jobs import JobState, Reason
from prouter.model.plugin import Running
from prouter.model.process import Exit
from prouter.pluginkit import context

log = logging.getLogger(__name__)

UNTIL_LINK_ENDS = "until its link ends"
"""`asked` of a job that an original router made: it goes with the link that it was made over."""
RECOVER_SECONDS = 25.0
"""For a driver to find what lives on, or to end what does not: a guardian that hangs is given a while."""
LOST = (Reason.AGENT_LOST, Reason.START_FAILED)
"""Ends of a tree that its agent began and could not tell anybody of."""


async def recovered(job: Job, around: Surroundings, beside: Mapping[str, Any]) -> Job:
    """An unfinished job of an earlier run of the agent, as it is now."""
    record, directory = job.record, job.directory
    survives = around.survive and record.asked != UNTIL_LINK_ENDS
    if record.state is JobState.NEW:
        if survives and not await asyncio.to_thread(directory.is_being_made):
            return job
        found = None
    else:
        found = await _found(job, around, survives)
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
        await job.clean_sandbox()
    job = Job(record, directory, around, beside)
    await save_now_or_later(job)
    with context.about(job=record.uid):
        log.warning("job %s was unfinished when the agent ended: %s", record.uid, record.reason)
    return job


async def _found(job: Job, around: Surroundings, survives: bool) -> Running | Exit | None:
    """By the driver that started it: what goes on is the job's then, and nothing else runs, if the driver can tell.

    None: nobody knows.
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
    try:
        async with asyncio.timeout(RECOVER_SECONDS):
            found = await driver.recover(record.uid, str(job.directory.path))
            if found is None or isinstance(found, Exit):
                return found
            if survives:
                try:
                    await job.adopt(driver, found)
                except Conflict as error:  # how it was started can not be read
                    log.error("job %s can not be taken over: %s", record.uid, error.detail)
                else:
                    return found
            return await found.kill(Reason.AGENT_LOST.value)
    except (TimeoutError, ProuterError) as error:
        log.error("what became of job %s is not known: %s", record.uid, str(error) or "no answer in time")
        with suppress(TimeoutError):  # what is told to be lost must not go on
            async with asyncio.timeout(RECOVER_SECONDS):
                await driver.destroy(record.uid, str(job.directory.path))
        return None

"""Finished jobs that nobody removes: each goes once it has been finished for `jobs.finished_ttl`, record and files.

Belongs here: when. Does not: how old a job is (kept.py), how it is removed (job.py).
"""

from __future__ import annotations

import asyncio
import logging

from prouter.agent.jobs.job import Job
from prouter.agent.jobs.registry import JobRegistry
from prouter.errors import ProuterError

log = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 60.0
"""Between two looks; jobs go so much late at most, and a removal that failed is tried again."""
PARTS_OF_TTL = 10
"""A shorter time to live is looked after more often."""
REMOVED_AT_ONCE = 16


class Finished:
    """Looks through the jobs now and then."""

    def __init__(self, jobs: JobRegistry, ttl_seconds: float) -> None:
        self._jobs = jobs
        self._ttl_seconds = ttl_seconds
        self._at_once = asyncio.Semaphore(REMOVED_AT_ONCE)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            async with asyncio.TaskGroup() as group:
                for job in [job for job in self._jobs if self._is_due(job)]:
                    group.create_task(self._remove(job), name=f"removal of {job.record.uid}, finished for long")
            await asyncio.sleep(min(MAX_PAUSE_SECONDS, self._ttl_seconds / PARTS_OF_TTL))

    def _is_due(self, job: Job) -> bool:
        return job.record.ended and job.kept.age_seconds(job.record) >= self._ttl_seconds

    async def _remove(self, job: Job) -> None:
        async with self._at_once:
            if not self._is_due(job):  # it runs anew
                return
            log.info("job %s goes: it finished %g s ago (jobs.finished_ttl)", job.record.uid, self._ttl_seconds)
            try:
                await job.remove()
            except ProuterError as error:
                log.error("job %s could not be removed: %s", job.record.uid, error.detail)

"""Finished jobs that nobody removes: the agent looks now and then which are to go, and removes them, record and files.

Belongs here: when. Does not: which go (clean_up.py), how a job is removed (job.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from prouter.agent.jobs.clean_up import QUOTA, Doomed, Limits, look
from prouter.agent.jobs.measuring import Measured, Measuring, Sizes
from prouter.agent.jobs.registry import JobRegistry
from prouter.errors import ProuterError

log = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 60.0
"""Between two looks; jobs go so much late at most, and a removal that failed is tried again."""
PARTS_OF_TTL = 10
"""A shorter time to live is looked after more often."""
COST = 20
"""Rests are so many times longer than it takes to measure all jobs."""
PATIENCE_SECONDS = 300.0
"""A look waits so long for sizes; without, it is for age only, and the next one gets them."""
REMOVED_AT_ONCE = 16


class Finished:
    """Looks through the jobs now and then."""

    def __init__(self, jobs: JobRegistry, limits: Limits) -> None:
        self._jobs = jobs
        self._limits = limits
        self._measuring = Measuring()
        self._at_once = asyncio.Semaphore(REMOVED_AT_ONCE)
        self._is_full = False

    def __iter__(self) -> Iterator[Measured]:
        """All jobs, and what was set aside of earlier ones."""
        yield from self._jobs
        yield from self._jobs.aside

    async def run(self) -> None:
        """Until it is cancelled, or for no time where nothing is ever removed."""
        ttl_seconds = self._limits.finished_seconds
        if ttl_seconds is None and self._limits.disk_bytes is None:
            return
        pause = MAX_PAUSE_SECONDS if ttl_seconds is None else min(MAX_PAUSE_SECONDS, ttl_seconds / PARTS_OF_TTL)
        while True:
            measured_seconds = 0.0
            try:
                measured_seconds = await self._look()
            except Exception:  # one look that fails is not the last
                log.exception("finished jobs could not be looked through, which is tried again")
            await asyncio.sleep(max(pause, COST * measured_seconds))

    async def _look(self) -> float:
        """And remove what is to go. How long measuring took."""
        await self._jobs.aside.look()
        found = await look(self, self._limits, self._measuring, patience_seconds=PATIENCE_SECONDS)
        async with asyncio.TaskGroup() as group:
            for doomed in found.doomed:
                name = f"removal of {doomed.job.record.uid}, finished for long"
                group.create_task(self._remove(doomed, found.sizes), name=name)
        self._note((found.total_bytes or 0) - sum(doomed.size_bytes or 0 for doomed in found.doomed))
        return found.sizes.seconds

    def close(self) -> None:
        """At the agent's end: whoever measures still is not waited for."""
        self._measuring.close()

    async def would_remove(self, finished_seconds: float | None, disk_bytes: int | None) -> Mapping[str, Any]:
        """What would go now; with other limits than the agent's own where they are given. Nothing is removed."""
        limits = Limits(
            self._limits.finished_seconds if finished_seconds is None else finished_seconds,
            self._limits.disk_bytes if disk_bytes is None else disk_bytes,
        )
        await self._jobs.aside.look()
        return (await look(self, limits, self._measuring, measured=True)).shown()

    async def _remove(self, doomed: Doomed, sizes: Sizes) -> None:
        job = doomed.job
        async with self._at_once:
            if job.record != doomed.record:  # it has run anew: the next look says what becomes of it
                return
            if doomed.why == QUOTA and sizes.of(self) <= (self._limits.disk_bytes or 0):  # others gave room
                return
            age = job.kept.age_seconds(job.record)
            log.info("job %s goes: it finished or was set aside %g s ago (jobs.%s)", job.record.uid, age, doomed.why)
            try:
                await job.remove()
            except ProuterError as error:
                log.error("job %s could not be removed: %s", job.record.uid, error.detail)

    def _note(self, left_bytes: int) -> None:
        """Once each time it comes to that."""
        most = self._limits.disk_bytes
        is_full = most is not None and left_bytes > most
        if is_full and not self._is_full:
            log.warning("jobs that have not finished take %d bytes, more than jobs.disk_quota: they stay", left_bytes)
        self._is_full = is_full

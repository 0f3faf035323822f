"""The Queue service: what routes and plugins can do with jobs that wait for an agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from prouter.core.agents.directory import AgentDirectory
from prouter.core.jobs.service import JobsService, Made
from prouter.core.queue.line import Place
from prouter.core.queue.queue import JobQueue
from prouter.errors import ProuterError
from prouter.model.access import Principal
from prouter.model.ids import JobUid
from prouter.model.jobs import CreateRequest, JobRef
from prouter.model.queue import QueuedJob, Waiting

UNQUEUE = "unqueue"
"""The first word of what is remembered of removals."""


class QueueService:
    """Implements model.queue.Queue."""

    def __init__(self, queue: JobQueue, jobs: JobsService, directory: AgentDirectory, *, most: int) -> None:
        self._queue = queue
        self._jobs = jobs
        self._directory = directory
        self._most = most

    async def create(self, request: CreateRequest, principal: Principal, seconds: float) -> QueuedJob | Made:
        return await self._jobs.create_or_queue(request, principal, seconds)

    def list(self) -> Sequence[QueuedJob]:
        return self._queue.line.shown()

    def find(self, job: JobUid) -> QueuedJob | None:
        return self._queue.find(job)

    async def wait(self, job: JobUid, timeout_seconds: float | None = None) -> QueuedJob | JobRef:
        place = self._queue.line.get(job)
        if place is None:
            return self._found(job)
        return await self._ended(place, timeout_seconds)

    async def remove(self, job: JobUid, key: str | None = None) -> QueuedJob | JobRef:
        if key is None:
            return await self._remove(job)
        return await self._directory.repeats.do((UNQUEUE, job, key), None, lambda: self._remove(job))

    def removed(self, job: JobUid, key: str) -> QueuedJob | None:
        found = self._directory.repeats.outcome((UNQUEUE, job, key))
        return found if isinstance(found, QueuedJob) else None

    async def _remove(self, job: JobUid) -> QueuedJob | JobRef:
        place = self._queue.line.get(job)
        if place is None:
            found = self._found(job)
            self._queue.gone.forget(job)
            return found
        before = self._queue.line.as_it_is(place)
        self._queue.remove(place)
        ended = await self._ended(place, None)
        return ended if isinstance(ended, JobRef) else before

    def look_again(self) -> None:
        self._queue.look_again()

    def now(self) -> Waiting:
        line = self._queue.line
        oldest = line.oldest()
        longest = time.monotonic() - oldest if oldest is not None else 0.0
        return Waiting(len(line), self._most, longest, self._queue.news.count())

    async def _ended(self, place: Place, timeout_seconds: float | None) -> QueuedJob | JobRef:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await asyncio.shield(place.done)
        if not place.done.done():
            return self._queue.line.as_it_is(place)
        found = place.done.result()
        if isinstance(found, ProuterError):
            raise found
        return found

    def _found(self, job: JobUid) -> QueuedJob | JobRef:
        """One that has no place. Raises JobNotFound."""
        gone = self._queue.find(job)
        return gone if gone is not None else self._directory.find_job(job, None)

"""Jobs that nobody asks for any more: an agent without any router for `jobs.orphan_timeout` ends them."""

from __future__ import annotations

import asyncio
import logging

from prouter.agent.jobs.registry import JobRegistry
from prouter.model.jobs import Reason

log = logging.getLogger(__name__)


class Orphans:
    """Watches how long no router has been linked. Told by the links of each that comes and goes.

    The time runs only while there is none, and anew each time. None: for ever.
    """

    def __init__(self, jobs: JobRegistry, orphan_seconds: float | None) -> None:
        self._jobs = jobs
        self._orphan_seconds = orphan_seconds
        self._links = 0
        self._changed = asyncio.Event()

    def linked(self) -> None:
        self._links += 1
        self._changed.set()

    def unlinked(self) -> None:
        self._links -= 1
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled. An agent that has just started counts as left alone, too."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self._links else self._orphan_seconds):
                    await self._changed.wait()
            except TimeoutError:
                assert self._orphan_seconds is not None
                await self._end(self._orphan_seconds)
                await self._changed.wait()

    async def _end(self, alone_seconds: float) -> None:
        waiting = [job for job in self._jobs if not job.record.ended]
        if waiting:
            log.warning("no router for %g s: ending %d jobs", alone_seconds, len(waiting))
            await self._jobs.end_all(Reason.ORPHANED)

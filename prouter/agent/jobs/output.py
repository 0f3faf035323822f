"""A job's output for its readers: off the event loop, and followed until the job has ended and all was read.

Implements model.services.JobOutput. How it lies on disk is in output/reader.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from prouter.agent.jobs.job import Job
from prouter.agent.output.reader import SpoolReader
from prouter.errors import JobNotFound
from prouter.model.jobs import JobState
from prouter.model.output import OutputPiece, OutputStream

NEWS_SECONDS = 0.05
"""Between two looks for more while somebody follows; a look costs a fifth of a millisecond."""

QUIET_SECONDS = 15.0


class FollowedOutput:
    """The output of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def end(self, stream: OutputStream | None) -> int:
        return await asyncio.to_thread(self._reader(stream).end)

    async def tail(self, stream: OutputStream | None, lines: int) -> int:
        return await asyncio.to_thread(self._reader(stream).tail, lines)

    async def read(
        self, stream: OutputStream | None, offset: int, *, follow: bool
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        reader = self._reader(stream)
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while True:
            over = self._over()  # asked before reading: the end is told after the last byte is on disk
            batch = await asyncio.to_thread(reader.read, offset)
            if batch.pieces:
                yield batch.pieces
                offset = batch.pieces[-1].after
                quiet_since = loop.time()
            if batch.pieces or batch.more:
                continue
            if over or not follow:
                self._over()  # nothing was read, perhaps because a removal has begun since
                return
            if loop.time() - quiet_since > QUIET_SECONDS:
                yield ()
                quiet_since = loop.time()
            await self._news()

    def _over(self) -> bool:
        """Whether no more will come. Raises JobNotFound for a job that was removed: how much there was is not known."""
        record = self._job.record
        if (self._job.removing or record.state is JobState.CLOSED) and record.started_at is not None:
            raise JobNotFound(record.uid)
        return record.ended

    async def _news(self) -> None:
        """A while, or until the job has ended."""
        try:
            async with asyncio.timeout(NEWS_SECONDS):
                await self._job.wait_ended()
        except TimeoutError:
            pass

    def _reader(self, stream: OutputStream | None) -> SpoolReader:
        return SpoolReader(self._job.directory.path, stream)

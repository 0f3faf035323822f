"""A job's output for its readers: off the event loop, and followed until the job has ended and all was read.

Implements model.agent_services.JobOutput. How it lies on disk is in output/reader.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prouter.agent.jobs.runs import Run
from prouter.agent.output.reader import SpoolReader
from prouter.errors import JobNotFound
from prouter.model.jobs import JobState
from prouter.model.output import OutputPiece, OutputStream

if TYPE_CHECKING:
    from prouter.agent.jobs.job import Job

NEWS_SECONDS = 0.05
"""Between two looks for more while somebody follows; a look costs a fifth of a millisecond."""

QUIET_SECONDS = 15.0


class FollowedOutput:
    """The output of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def run(self) -> int:
        return self._job.run.number

    async def end(self, stream: OutputStream | None) -> int:
        return await asyncio.to_thread(self._reader(stream).end)

    async def tail(self, stream: OutputStream | None, lines: int) -> int:
        return await asyncio.to_thread(self._reader(stream).tail, lines)

    def read(
        self, stream: OutputStream | None, offset: int, *, follow: bool, run: int | None = None
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        return self.read_run(stream, offset, self._job.run.of(run), follow=follow)

    async def read_run(
        self, stream: OutputStream | None, offset: int, run: Run, *, follow: bool
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        """The same of a run that is known."""
        reader = self._reader(stream)
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while True:
            over = self.over(run)  # asked before reading: the end is told after the last byte is on disk
            batch = await asyncio.to_thread(reader.read, offset)
            end = run.ends[stream] if run.ends is not None and follow else None
            pieces = batch.pieces if end is None else _before(batch.pieces, end)
            if pieces:
                yield pieces
                offset = pieces[-1].after
                quiet_since = loop.time()
            if end is not None and (offset >= end or len(pieces) < len(batch.pieces)):
                return  # what comes now is another run's
            if pieces or batch.more:
                continue
            if over or not follow:
                self.over(run)  # nothing was read, perhaps because a removal has begun since
                return
            if loop.time() - quiet_since > QUIET_SECONDS:
                yield ()
                quiet_since = loop.time()
            await self._news()

    def over(self, run: Run) -> bool:
        """Whether no more will come of that run. Raises JobNotFound for a job that was removed: how much there was is
        not known."""
        record = self._job.record
        if (self._job.removing or record.state is JobState.CLOSED) and record.started_at is not None:
            raise JobNotFound(record.uid)
        return record.ended or run.ends is not None

    async def _news(self) -> None:
        """A while, or until the job has ended."""
        try:
            async with asyncio.timeout(NEWS_SECONDS):
                await self._job.wait_ended()
        except TimeoutError:
            pass

    def _reader(self, stream: OutputStream | None) -> SpoolReader:
        return SpoolReader(self._job.directory.path, stream)


def _before(pieces: Sequence[OutputPiece], end: int) -> Sequence[OutputPiece]:
    """Those of a run that ended there; a gap may reach into the next one."""
    return [
        piece if piece.after <= end else replace(piece, dropped_bytes=end - piece.offset)
        for piece in pieces
        if piece.offset < end
    ]

"""A job's output as plugins change it for clients: by whole lines, wherever a client begins to read.

Belongs here: which bytes a plugin is given for those that were asked for. Does not: reading (output.py), who is asked
(hooks.py). Nobody has one of these where nobody changes output.

Each batch of what is read is looked at by stream: its bytes stand in a window from the beginning of their first line
to the end of their last one. The window is changed, and of that only what was asked for is handed out, at its old
place. So the second half of a line says no more than it does as part of the line, also when the two streams are mixed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prouter.agent.jobs.hooks import JobHooks
from prouter.agent.jobs.output import NEWS_SECONDS, FollowedOutput
from prouter.agent.jobs.runs import Run
from prouter.agent.output.limits import LineLimits
from prouter.agent.output.lines import LineReader
from prouter.agent.output.reader import SpoolReader
from prouter.model.agent_services import JobOutput
from prouter.model.drivers import Running
from prouter.model.output import OutputPiece, OutputStream

if TYPE_CHECKING:
    from prouter.agent.jobs.job import Job

QUOTED_BYTES = 8192
"""Of the last lines, in a message."""


class ChangedOutput:
    """Implements model.agent_services.JobOutput on another one."""

    def __init__(self, job: Job, hooks: JobHooks, limits: LineLimits) -> None:
        self._job = job
        self._hooks = hooks
        self._limits = limits
        self._raw = FollowedOutput(job)

    @property
    def run(self) -> int:
        return self._raw.run

    async def end(self, stream: OutputStream | None) -> int:
        return await self._raw.end(stream)

    async def tail(self, stream: OutputStream | None, lines: int) -> int:
        return await self._raw.tail(stream, lines)

    def read(
        self, stream: OutputStream | None, offset: int, *, follow: bool, run: int | None = None
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        return self._changed(stream, offset, self._job.run.of(run), follow=follow)

    async def _changed(
        self, stream: OutputStream | None, offset: int, run: Run, *, follow: bool
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        streams = (stream,) if stream is not None else tuple(OutputStream)
        lines = {one: _Lines(self._job, one, self._hooks, self._limits) for one in streams}
        view = _View(self._job, stream)
        async for pieces in self._raw.read_run(stream, offset, run, follow=follow):
            placed = await view.placed(pieces)
            until = asyncio.get_running_loop().time() + self._limits.wait_seconds
            changed: dict[int, list[OutputPiece]] = {}
            for one, reader in lines.items():
                mine = [(number, place) for number, piece, place in placed if piece.stream is one]
                if mine:
                    numbers = [number for number, _ in mine]
                    made = await reader.changed(
                        mine[0][1], [pieces[number] for number in numbers], until, lambda: self._raw.over(run)
                    )
                    changed |= dict(zip(numbers, made, strict=True))
            yield [one for number, piece in enumerate(pieces) for one in changed.get(number, [piece])]

    async def last_lines(self, running: Running, lines: int) -> str:
        """Of this run, at most QUOTED_BYTES, for messages to people."""
        begin = self._job.run.begins_at
        end = await self._raw.end(None)
        if end <= begin:
            return await self._own_lines(running, lines)
        begin = max(begin, await self._raw.tail(None, lines), end - QUOTED_BYTES)
        read = [piece async for pieces in self.read(None, begin, follow=False) for piece in pieces]
        return b"".join(piece.data for piece in read)[-QUOTED_BYTES:].decode("utf-8", "replace")

    async def _own_lines(self, running: Running, lines: int) -> str:
        """Of a driver that keeps output by itself."""
        data = (await running.last_output(lines)).encode("utf-8", "replace")
        if len(data) > QUOTED_BYTES // 2:  # its first line may have lost its beginning
            data = data.partition(b"\n")[2]
        return (await self._hooks.output(data, self._job.record, None)).decode("utf-8", "replace")


def output_of(job: Job) -> JobOutput:
    """As its clients see it."""
    around = job.around
    return ChangedOutput(job, around.hooks, around.lines) if around.hooks.changes_output else FollowedOutput(job)


async def last_output(job: Job, running: Running, lines: int) -> str:
    """The newest lines of a run as clients may see them, for messages to people."""
    around = job.around
    if not around.hooks.changes_output:
        return await running.last_output(lines)
    return await ChangedOutput(job, around.hooks, around.lines).last_lines(running, lines)


class _View:
    """Where the pieces of a view are in their own streams."""

    def __init__(self, job: Job, stream: OutputStream | None) -> None:
        self._directory = job.directory.path
        self._stream = stream
        self._at: dict[OutputStream, int] | None = None
        """Of the next piece of each stream, once it is known; only where both are read together."""

    async def placed(self, pieces: Sequence[OutputPiece]) -> Sequence[tuple[int, OutputPiece, int | None]]:
        """(number, piece, its offset in its own stream) of those that hold data; None: that was dropped just now."""
        found: list[tuple[int, OutputPiece, int | None]] = []
        for number, piece in enumerate(pieces):
            if piece.stream is None:
                self._at = None
            elif self._stream is not None:
                found.append((number, piece, piece.offset))
            else:
                if self._at is None:
                    offset = piece.offset
                    self._at = await asyncio.to_thread(SpoolReader(self._directory, None).streams_at, offset)
                found.append((number, piece, self._at[piece.stream] if self._at is not None else None))
                if self._at is not None:
                    self._at[piece.stream] += len(piece.data)
        return found


class _Lines:
    """One stream for one reader, who goes forward; where it stopped last is remembered."""

    def __init__(self, job: Job, stream: OutputStream, hooks: JobHooks, limits: LineLimits) -> None:
        self._job = job
        self._stream = stream
        self._hooks = hooks
        self._limits = limits
        self._reader = LineReader(job.directory.path, stream, limits.bytes)
        self._next = -1
        self._before = b""
        """Of the line that `_next` is in."""
        self._lost_until = 0
        """Bytes of a line whose beginning was dropped are not handed out, up to there at most."""

    async def changed(
        self, start: int | None, pieces: Sequence[OutputPiece], until: float, over: Callable[[], bool]
    ) -> list[list[OutputPiece]]:
        """For each of the pieces, which follow each other in the stream from `start` on, what is handed out for it."""
        if start is None:
            return [[_gap(piece)] for piece in pieces]
        if start != self._next:
            found = await asyncio.to_thread(self._reader.before, start)
            self._before = found.data
            self._lost_until = found.lost_at + self._limits.bytes if found.lost_at is not None else 0
        data = b"".join(piece.data for piece in pieces)
        lost = self._lost(start, data)
        seen = await self._window(start, data, until, over) if lost < len(data) else b""
        self._remember(start, data)
        return _scattered(pieces, lost, seen)

    def _lost(self, start: int, data: bytes) -> int:
        """How many of these bytes belong to a line of which nobody can tell what it is."""
        if start >= self._lost_until:
            return 0
        ends = data.find(b"\n") + 1
        lost = min(ends or len(data), self._lost_until - start)
        if ends and lost == ends:
            self._lost_until = 0
        return lost

    async def _window(self, start: int, data: bytes, until: float, over: Callable[[], bool]) -> bytes:
        """The data, changed as part of its lines."""
        after = b"" if data.endswith(b"\n") else await self._rest(start + len(data), until, over)
        changed = await self._hooks.output(self._before + data + after, self._job.record, self._stream)
        return changed[len(self._before) : len(self._before) + len(data)]

    async def _rest(self, offset: int, until: float, over: Callable[[], bool]) -> bytes:
        """Of the last line, as far as it comes in time."""
        while True:
            last = over()  # asked before reading: the end is told after the last byte is on disk
            data, complete = await asyncio.to_thread(self._reader.after, offset)
            if complete or last or asyncio.get_running_loop().time() >= until:
                return data
            await asyncio.sleep(NEWS_SECONDS)

    def _remember(self, start: int, data: bytes) -> None:
        self._next = start + len(data)
        line = self._before + data
        self._before = line[line.rfind(b"\n") + 1 :][-self._limits.bytes :]


def _scattered(pieces: Sequence[OutputPiece], lost: int, data: bytes) -> list[list[OutputPiece]]:
    """Data of all pieces cut to their sizes; the first `lost` bytes as gaps."""
    made, at = [], 0
    for piece in pieces:
        size = len(piece.data)
        gone = min(size, max(0, lost - at))
        parts = [_gap(replace(piece, data=piece.data[:gone]))] if gone else []
        if gone < size:
            parts.append(OutputPiece(piece.offset + gone, piece.stream, data[at + gone : at + size]))
        made.append(parts)
        at += size
    return made


def _gap(piece: OutputPiece) -> OutputPiece:
    return OutputPiece(piece.offset, None, dropped_bytes=len(piece.data))

"""A pipe and a job's connection, joined: bytes both ways, FIN as FIN, a reset as a reset.

Belongs here: how both end. Does not: what passes between them (passing.py), who is joined with whom (agent_end.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from prouter.model.activity import Flows
from prouter.model.services import Tasks
from prouter.pipe.passing import End
from prouter.pipe.reset import end_at_close, half_close, reset, was_reset
from prouter.pipe.unsent import cut_untaken

LOOK_SECONDS = 1.0
"""Between two looks whether a pipe from which nothing is read, since the job does not, is still there."""

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]
"""Connects a protocol to a job's port. Raises OSError."""


@dataclass(frozen=True, slots=True)
class JobSocket:
    """A job's port."""

    connect: Connect
    is_cut: Callable[[], Awaitable[bool]]
    """Whether an end of the job's stream, seen just now, is a cut."""
    flows: Flows = field(default_factory=Flows)
    """Where its connections are counted."""


class Early(asyncio.Protocol):
    """A job's connection until it is joined: a job may speak first, or close at once, and uvloop tells of that before
    who waits for the connection has it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._came = b""
        self._eof = False
        self._lost: tuple[Exception | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came += data
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = (exc,)

    def tell(self, job: End) -> None:
        """What came, to who has the connection now."""
        if self._came:
            if not self.transport.is_closing():
                self.transport.resume_reading()
            job.data_received(self._came)
        if self._eof:
            job.eof_received()
        if self._lost is not None:
            job.connection_lost(self._lost[0])


class Pair:
    """A pipe and a job's connection, joined for as long as both live.

    What is always true: what came from one was written to the other before its end is; a reset on one is a reset on
    the other; both are closed once both ended.
    """

    __slots__ = (
        "_begun",
        "_call_off",
        "_closed",
        "_flows",
        "_half_close_seconds",
        "_is_cut",
        "_job",
        "_looks",
        "_moved_at",
        "_over",
        "_pipe",
        "_tasks",
        "_timer",
        "timed",
    )

    def __init__(
        self,
        pipe: End,
        job: End,
        target: JobSocket,
        tasks: Tasks,
        half_close_seconds: float,
        over: Callable[[], None],
    ) -> None:
        self._pipe, self._job = pipe, job
        pipe.other, job.other = job, pipe
        pipe.pair = job.pair = self
        self._flows, self._is_cut = target.flows, target.is_cut  # how it was connected is over
        self._tasks = tasks
        self._half_close_seconds = half_close_seconds
        self._over = over
        self._moved_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looks: asyncio.TimerHandle | None = None
        self._call_off: Callable[[], None] | None = None
        self.timed = False
        """Whether a deadline runs that a byte renews."""
        self._begun = False
        self._closed = False

    def begin(self) -> None:
        """The job's port has accepted the connection: from now to the end it is one of the job's."""
        if not self._closed:
            self._begun = True
            self._flows.connections += 1

    def moved(self) -> None:
        self._moved_at = asyncio.get_running_loop().time()

    def held(self, end: End) -> None:
        """Nothing is read from one side now. Only the pipe is looked at: what a job wrote before its reset counts."""
        if end is self._pipe and self._looks is None:
            self._looks = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looks = None
        if self._closed or self._pipe.transport.is_reading():
            return
        if was_reset(self._pipe.transport):
            self.cut()
        else:
            self.held(self._pipe)

    def ended(self, end: End) -> None:
        """FIN came from one side."""
        if end is self._job:
            self._tasks.start("end of a job's stream", self._judge())
        else:
            self._pass_end(end)

    def lost(self, end: End, exc: Exception | None) -> None:
        """One connection is gone: by a reset, by our closing, or because its peer is dead."""
        if self._closed:
            return
        if exc is not None or not end.eof:
            self.cut()
        else:
            self._close()

    def cut(self) -> None:
        """Reset both."""
        self._stop()
        for end in (self._pipe, self._job):
            transport = getattr(end, "transport", None)
            if transport is not None:
                reset(transport)

    async def _judge(self) -> None:
        """Whether the job closed, or is dying: then what the client has is no whole answer. So it is when nobody can
        tell."""
        try:
            is_cut = await self._is_cut()
        except BaseException:
            self.cut()
            raise
        if is_cut:
            self.cut()
        elif not self._closed:
            self._pass_end(self._job)

    def _pass_end(self, end: End) -> None:
        if end.other.transport.is_closing():
            return
        if end.other.eof:
            self._close()
            return
        half_close(end.other.transport)
        self._watch()

    def _watch(self) -> None:
        """A deadline runs from the first end, renewed by every byte."""
        loop = asyncio.get_running_loop()
        if not self.timed:
            self.timed = True
            self._moved_at = loop.time()
        until = self._moved_at + self._half_close_seconds
        if loop.time() >= until:
            self._close()
        else:
            self._timer = loop.call_at(until, self._watch)

    def _close(self) -> None:
        self._stop()
        end_at_close(self._pipe.transport)
        self._pipe.transport.close()
        self._job.transport.close()
        pipe, job = self._pipe.transport, self._job.transport
        if pipe.get_write_buffer_size() or job.get_write_buffer_size():  # which it need never read, nor close its end
            self._call_off = cut_untaken(self.cut, self._half_close_seconds, pipe, job)

    def _stop(self) -> None:
        for timer in (self._timer, self._looks):
            if timer is not None:
                timer.cancel()
        if self._call_off is not None:
            self._call_off()
        if not self._closed:
            self._closed = True
            if self._begun:
                self._flows.connections -= 1
            self._over()

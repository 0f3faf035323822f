"""The agent's end of a pipe: waits for the bind line, then joins the pipe to its target.

Belongs here: the line, the verdict, connecting. Does not: what is copied then (pair.py), which jobs and ports there
are, and the agent's own HTTP service (both given as `Targets`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prouter.errors import RemoteProtocolError
from prouter.model.services import Tasks
from prouter.pipe.alive import probe_peer
from prouter.pipe.bind import MAX_LINE_BYTES, OK, AgentBinding, BindRefused, JobBinding, parse_binding
from prouter.pipe.outlived import Carried
from prouter.pipe.pair import Early, JobSocket, Pair
from prouter.pipe.passing import End
from prouter.pipe.reset import cut_at_close, reset
from prouter.pipe.unsent import hold_little_below

log = logging.getLogger(__name__)


class Targets(Protocol):
    """What pipes can be bound to."""

    def job(self, binding: JobBinding) -> JobSocket | BindRefused:
        """The port that a line means."""

    @property
    def served(self) -> int:
        """Pipes that were given to the service and are still open."""

    def serving(self) -> list[asyncio.Transport]:
        """They themselves."""

    def serve(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """Give a pipe to the agent's own HTTP service for good."""


@dataclass(frozen=True, slots=True)
class PipeTimes:
    bind_seconds: float
    connect_seconds: float
    half_close_seconds: float
    silent_seconds: float = 12.5
    """A router that acknowledged nothing for so long is gone."""


class AgentPipe(asyncio.Protocol):
    """A pipe that nobody has bound yet. `link` is the number of the control link that it belongs to."""

    def __init__(
        self,
        transport: asyncio.Transport,
        link: int,
        targets: Targets,
        tasks: Tasks,
        times: PipeTimes,
        over: Callable[[AgentPipe], None],
    ) -> None:
        self.bound = False
        self.joined = False
        """Whether it has its connection to a job's port; until then it may need another descriptor."""
        self._transport = transport
        self._link = link
        self._targets = targets
        self._tasks = tasks
        self._times = times
        self._over = over
        self._line = bytearray()
        self._late: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    def begin(self, leftover: bytes) -> None:
        """Wait for the line, which `leftover` may be already."""
        self._transport.resume_reading()
        if leftover:
            self.data_received(leftover)

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        reset(self._transport)

    def carried(self) -> Carried:
        """For who looks after it once its link has ended."""
        return Carried(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._late is None:
            self._late = asyncio.get_running_loop().call_later(self._times.bind_seconds, self._transport.abort)
        self._line += data
        line, newline, rest = bytes(self._line).partition(b"\n")
        if newline:
            self._late.cancel()
            self._late = None
            self._line.clear()  # what came with it would be kept for as long as the pipe is
            self._bind(line, rest)
        elif len(self._line) > MAX_LINE_BYTES:
            self._transport.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._over(self)

    def _is_over(self) -> None:
        self._over(self)

    def refuse(self, refused: BindRefused) -> None:
        self._transport.write(refused.line())
        self._transport.close()

    def _bind(self, line: bytes, rest: bytes) -> None:
        try:
            binding = parse_binding(line)
        except RemoteProtocolError as error:
            self.refuse(BindRefused(400, error.detail))
            return
        if binding.link != self._link:
            self.refuse(BindRefused(503, "the line is of another link"))
            return
        self.bound = True
        probe_peer(
            self._transport, self._times.silent_seconds
        )  # it outlives the link, whose end would tell that the router is gone
        if isinstance(binding, AgentBinding):
            self._transport.write(OK)
            self._over(self)
            self._targets.serve(self._transport, rest)
            return
        found = self._targets.job(binding)
        if isinstance(found, BindRefused):
            self.refuse(found)
            return
        self._transport.pause_reading()
        self._tasks.start(f"pipe to {binding.job}", self._join(found, rest))

    async def _join(self, target: JobSocket, rest: bytes) -> None:
        pipe, job = End("pipe", target.flows.inward), End("job", target.flows.outward)
        pair = Pair(pipe, job, target, self._tasks, self._times.half_close_seconds, self._is_over)
        early = Early()
        try:
            async with asyncio.timeout(self._times.connect_seconds):
                await target.connect(lambda: early)
        except OSError as error:  # TimeoutError is one
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.refuse(BindRefused(503, "the agent has no more descriptors"))
                return
            self.refuse(BindRefused(502, f"nothing answers at the job's port: {error.strerror or 'no answer'}"))
            return
        except BaseException:
            self.abort()
            raise
        job.connection_made(early.transport)
        early.transport.set_protocol(job)
        pair.begin()
        if self._transport.is_closing():
            pair.cut()
            return
        hold_little_below(job.transport.get_extra_info("socket"))
        cut_at_close(self._transport)
        self.joined = True
        self._transport.write(OK)
        self._transport.set_protocol(pipe)
        pipe.connection_made(self._transport)
        self._transport.resume_reading()
        early.tell(job)
        if rest and not pipe.transport.is_closing():
            pipe.data_received(rest)  # last: a job that takes little of it pauses what was joined

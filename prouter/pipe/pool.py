"""The router's pipes to one agent over one control link: unbound ones kept warm, bound idle ones kept for reuse.

What is always true: a bound pipe is never bound to something else; never more pipes are asked for than there are
waiters plus the warm target; losing the link closes what is unbound or idle, while busy pipes finish what they carry.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prouter.errors import LinkError, RemoteProtocolError, TimedOut, Unavailable, UpstreamFailed
from prouter.model.services import Tasks
from prouter.pipe.bind import parse_verdict
from prouter.pipe.steps import in_a_task
from prouter.pipe.stream import PipeStream
from prouter.pipe.upstream import UpstreamPipe

log = logging.getLogger(__name__)

Opened = tuple[asyncio.Transport, bytes]
PipeSource = Callable[[int], Awaitable[Sequence[Opened]]]
"""Get so many pipes, or fewer; returns when no more will come. Raises LinkError when the agent can not be asked."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one agent's pool."""

    warm: int = 4
    """Unbound pipes kept open, so that a request does not wait for one to be dialed."""
    per_agent: int = 4096
    """Pipes of all kinds to one agent; beyond it requests are 503."""
    idle_per_target: int = 64
    """Bound pipes kept for one port (nginx `keepalive` suggests tens)."""
    idle_seconds: float = 30.0
    """A kept pipe that nobody used for so long closes."""
    wait_seconds: float = 10.0
    """How long a request waits for a pipe."""


class PipePool:
    """Pipes to one agent over one control link."""

    def __init__(self, source: PipeSource, tasks: Tasks, limits: PoolLimits, agent: str) -> None:
        self._source = source
        self._tasks = tasks
        self._limits = limits
        self._agent = agent
        self._warm: dict[_Warm, None] = {}
        self._idle: dict[bytes, deque[UpstreamPipe]] = {}
        self._lines: dict[UpstreamPipe, bytes] = {}
        """Every bound pipe, busy or idle, and its bind line."""
        self._streams: set[PipeStream] = set()
        self._waiters: deque[asyncio.Future[Opened]] = deque()
        self._asked = 0
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        """While anything is idle: one timer for all."""

    @property
    def size(self) -> int:
        """Open pipes of this link."""
        return len(self._lines) + len(self._warm) + len(self._streams)

    async def take(self, line: bytes, *, max_idle_seconds: float) -> UpstreamPipe:
        """A pipe bound by `line`; a kept one only when it was idle for no longer than `max_idle_seconds`.

        Raises Unavailable when the link is gone or the agent has too many, TimedOut when none came in time.
        """
        kept = self.take_kept(line, max_idle_seconds=max_idle_seconds)
        if kept is not None:
            return kept
        self._make_room(len(self._lines))
        transport, leftover = await self._unbound()
        pipe = UpstreamPipe(transport, leftover, line, self)
        self._lines[pipe] = line
        return pipe

    @asynccontextmanager
    async def stream(self, line: bytes) -> AsyncIterator[PipeStream]:
        """A pipe of its own, bound by `line`, as a stream of bytes; reset when the context ends by an error.

        Raises what `take` raises, and what the agent's refusal means.
        """
        self._make_room(self.size)
        stream = PipeStream(*await self._unbound())
        self._streams.add(stream)
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await stream.bind(line)
            yield stream
        except BaseException:
            stream.abort()
            raise
        finally:
            self._streams.discard(stream)
            stream.close()

    def returned(self, pipe: UpstreamPipe) -> None:
        """PipeHome: the pipe carried its exchange to the end and is in step."""
        line = self._lines.get(pipe)
        idle = self._idle.setdefault(line, deque()) if line is not None else None
        if self._closed or idle is None or len(idle) >= self._limits.idle_per_target:
            pipe.close()
            return
        idle.append(pipe)
        if self._sweeper is None:
            self._sweep_in(self._limits.idle_seconds)

    def lost(self, pipe: UpstreamPipe) -> None:
        """PipeHome: the pipe is closed."""
        line = self._lines.pop(pipe, None)
        idle = self._idle.get(line) if line is not None else None
        if idle is not None and pipe in idle:
            idle.remove(pipe)
        if line is not None and not idle:
            self._idle.pop(line, None)

    def close(self) -> None:
        """The link is gone: what is unbound or idle closes, whoever waits is told."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for warm in list(self._warm):
            warm.transport.abort()
        for idle in list(self._idle.values()):
            for pipe in list(idle):
                pipe.close()
        self._fail_waiters(f"the link to agent {self._agent!r} ended")

    def abort(self) -> None:
        """Reset all pipes, busy ones too."""
        self.close()
        for pipe in list(self._lines):
            pipe.cut(UpstreamFailed("the router ended the link to the agent"))
        for stream in list(self._streams):
            stream.abort()

    def _make_room(self, used: int) -> None:
        """For one more pipe: at the limit an idle one of any target goes first. Raises Unavailable."""
        if used + len(self._waiters) < self._limits.per_agent:
            return
        for idle in self._idle.values():
            oldest = idle[0]
            self.lost(oldest)
            oldest.close()
            return
        raise Unavailable(f"agent {self._agent!r} has {used} open pipes, which is the limit")

    def take_kept(self, line: bytes, *, max_idle_seconds: float) -> UpstreamPipe | None:
        """One that is bound by `line` and idle, without waiting."""
        idle = self._idle.get(line)
        if not idle or time.monotonic() - idle[-1].idle_since > max_idle_seconds:
            return None
        pipe = idle.pop()
        if not idle:
            del self._idle[line]
        return pipe

    async def _unbound(self) -> Opened:
        if self._closed:
            raise Unavailable(f"the link to agent {self._agent!r} ended")
        if self._warm:
            warm = next(iter(self._warm))
            del self._warm[warm]
            self._ask()
            return warm.hand_over()
        await in_a_task()
        waiter: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._ask()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                return await waiter
        except BaseException as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._place(*waiter.result())
            if isinstance(error, TimeoutError):
                raise TimedOut(f"agent {self._agent!r} opened no pipe in {self._limits.wait_seconds:g} s") from None
            raise

    def _ask(self) -> None:
        """Ask for what is missing: a pipe for each waiter and the warm target, less what is under way."""
        missing = len(self._waiters) + self._limits.warm - len(self._warm) - self._asked
        if missing > 0 and not self._closed:
            self._asked += missing
            self._tasks.start(f"pipes of {self._agent}", self._fetch(missing))

    async def _fetch(self, count: int) -> None:
        opened: Sequence[Opened] = ()
        why = "none came"
        try:
            opened = await self._source(count)
        except LinkError as error:
            why = error.detail
        finally:
            self._asked -= count
        for transport, leftover in opened:
            self._place(transport, leftover)
        if opened:
            self._ask()
        elif not self._closed:
            log.warning("agent %s opened no pipes: %s", self._agent, why)
            self._fail_waiters(f"agent {self._agent!r} opened no pipe: {why}")

    def _fail_waiters(self, why: str) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable(why))

    def _place(self, transport: asyncio.Transport, leftover: bytes) -> None:
        if self._closed:
            transport.abort()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result((transport, leftover))
                return
        self._warm[_Warm(self, transport)] = None

    def forget_warm(self, warm: _Warm) -> None:
        """A warm pipe closed by itself."""
        self._warm.pop(warm, None)

    def _sweep_in(self, seconds: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long, and look again when the next one is due."""
        self._sweeper = None
        begun_by = time.monotonic() - self._limits.idle_seconds
        for idle in list(self._idle.values()):
            for pipe in [pipe for pipe in idle if pipe.idle_since <= begun_by]:
                pipe.close()
        left = [pipe.idle_since for idle in self._idle.values() for pipe in idle if pipe.idle_since > begun_by]
        if left:
            self._sweep_in(max(min(left) - begun_by, 0.01))


class _Warm(asyncio.Protocol):
    """Holds an unbound pipe and watches that it stays open and silent."""

    def __init__(self, pool: PipePool, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._pool = pool
        transport.set_protocol(self)
        if not transport.is_reading():
            transport.resume_reading()

    def hand_over(self) -> Opened:
        self.transport.pause_reading()
        return self.transport, b""

    def data_received(self, data: bytes) -> None:
        try:
            refused = parse_verdict(data.partition(b"\n")[0])
        except RemoteProtocolError:
            refused = None
        if refused is not None:  # it has as many as it may have, which whoever needs one is told
            log.debug("an agent takes no more pipes: %s", refused.text)
        else:
            log.warning("an agent spoke on a pipe that was not bound yet; closing it")
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget_warm(self)

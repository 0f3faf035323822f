"""The router's pipes to one agent over one control link: unbound ones kept warm, bound idle ones kept for reuse.

What is always true: a bound pipe is never bound to something else; whenever an agent is asked for pipes, those that are
to come are no more than there are waiters plus the warm target; pipes that are open or asked for are within the agent's
limit and the router's (total.py); losing the link closes what is unbound or idle, while busy pipes finish what they
carry.

How pools follow use. Of the idle pipes of a target the youngest is taken first, and one that nobody took for
`idle_seconds` closes: so there are as many as were in use at the same time within these seconds, without counting.
How many unbound ones there should be is decided in warm.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prouter.errors import TimedOut, Unavailable, UpstreamFailed
from prouter.model.services import Tasks
from prouter.pipe.alive import probe_peer
from prouter.pipe.asking import Asking, PipeSource
from prouter.pipe.outlived import Busy, Outlived
from prouter.pipe.shelf import Opened, Shelf, Shelves, Waiter
from prouter.pipe.steps import in_a_task
from prouter.pipe.stream import PipeStream
from prouter.pipe.total import PipeTotal, Pool
from prouter.pipe.upstream import UpstreamPipe
from prouter.pipe.warm import WarmPipes
from prouter.pipe.websocket import over


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of pools."""

    warm: int = 2
    """Unbound pipes kept open once an agent is used, so that a request does not wait for one to be dialed."""
    warm_most: int = 8
    """As many as that while many are taken at once."""
    per_agent: int = 4096
    """Pipes of all kinds to one agent; beyond it requests are 503."""
    total: int = 16384
    """The same for all agents together."""
    idle_seconds: float = 30.0
    """A kept pipe that nobody used for so long closes."""
    wait_seconds: float = 10.0
    """How long a request waits for a pipe."""
    ticket_seconds: float = 10.0
    """Within which a pipe must open that an agent was asked for."""
    silent_seconds: float = 12.5
    """A peer that acknowledged nothing for so long is gone, as one is that says nothing over its link."""


class PipePool:
    """Pipes to one agent over one control link. `total` is shared by all pools of the router."""

    def __init__(
        self,
        source: PipeSource,
        tasks: Tasks,
        limits: PoolLimits,
        agent: str,
        total: PipeTotal | None = None,
        is_back: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_back`: whether the agent, once the link has ended, has another one."""
        self._limits = limits
        self._agent = agent
        self._total = total or PipeTotal(limits.total)
        self._is_back = is_back
        self._warm = WarmPipes(limits.warm, limits.warm_most, self._gone)
        self._shelves = Shelves()
        self._bound: dict[UpstreamPipe, Shelf] = {}
        """Every bound pipe, busy or idle, and where it is when it is idle."""
        self._streams: set[PipeStream] = set()
        self._waiters: deque[Waiter] = deque()
        self._helped: deque[tuple[bytes, Shelf]] = deque()
        """Targets of those who waited for a new pipe, which is still to come, and have one that came back instead."""
        self._open = 0
        self._asking = Asking(source, tasks, agent, self._place, self._never_came, self._asked, self._needed)
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        """While anything is bound, or more is warm than always: one timer for all."""
        self._over: str | None = None
        """What the newest pipe is; a websocket where nothing else passes on the way."""

    @property
    def size(self) -> int:
        """Open pipes of this link."""
        return self._open

    def counts(self) -> Mapping[str, Any]:
        """As /connections shows them."""
        idle = sum(map(len, self._shelves))
        return {
            "open": self._open,
            "busy": self._open - idle - len(self._warm),
            "idle": idle,
            "warm": len(self._warm),
            "waiting": len(self._waiters),
            "over": self._over,
        }

    async def take(self, line: bytes, *, max_idle_seconds: float) -> UpstreamPipe:
        """A pipe bound by `line`; a kept one only when it was idle for no longer than `max_idle_seconds`.

        Raises Unavailable when the link is gone or there are too many, TimedOut when none came in time.
        """
        shelf = self._shelves.of(line)
        while True:
            kept = self.take_kept(line, max_idle_seconds=max_idle_seconds)
            if kept is not None:
                return kept
            got = await self._waited(shelf if max_idle_seconds >= 0 else None)  # below 0 a new one is wanted
            if isinstance(got, tuple):
                return self._bind(got, line, shelf)
            self._helped.append((line, shelf))
            if got in self._bound:  # else it closed just now
                return got

    def _bind(self, opened: Opened, line: bytes, shelf: Shelf) -> UpstreamPipe:
        transport, leftover = opened
        probe_peer(transport, self._limits.silent_seconds)
        pipe = UpstreamPipe(transport, leftover, line, self)
        self._bound[pipe] = shelf
        if not self._closed:
            pipe.keep_on(None if shelf.waiters else shelf)
            if self._sweeper is None:
                self._sweep_in(self._limits.idle_seconds)
        return pipe

    def take_kept(self, line: bytes, *, max_idle_seconds: float) -> UpstreamPipe | None:
        """One that is bound by `line` and idle, without waiting."""
        idle = self._shelves.of(line)
        if not idle or time.monotonic() - idle[-1].idle_since > max_idle_seconds:
            return None
        return idle.pop()

    def shelf(self, line: bytes) -> Shelf:
        """Where idle pipes are that are bound by `line`, for who takes often, the last one first, and for what can be
        sent again: none is idle for longer than the pool keeps it."""
        return self._shelves.of(line)

    @asynccontextmanager
    async def stream(self, line: bytes) -> AsyncIterator[PipeStream]:
        """A pipe of its own, bound by `line`, as a stream of bytes; reset when the context ends by an error.

        Raises what `take` raises, and what the agent's refusal means.
        """
        opened = await self._waited(None)
        assert isinstance(opened, tuple)
        stream = PipeStream(*opened)
        self._streams.add(stream)
        try:
            try:
                async with asyncio.timeout(self._limits.wait_seconds):
                    await stream.bind(line)
            except TimeoutError:
                seconds = self._limits.wait_seconds
                raise TimedOut(f"agent {self._agent!r} bound no pipe in {seconds:g} s") from None
            yield stream
        except BaseException:
            stream.abort()
            raise
        finally:
            self._streams.discard(stream)
            self._gone()
            stream.close()

    def returned(self, pipe: UpstreamPipe) -> None:
        """PipeHome: the pipe carried its exchange to the end and is in step."""
        shelf = self._bound.get(pipe)
        if shelf is None or self._closed:
            pipe.close()
        elif not shelf.serve(pipe):
            shelf.append(pipe)

    def lost(self, pipe: UpstreamPipe) -> None:
        """PipeHome: the pipe is closed."""
        shelf = self._bound.pop(pipe, None)
        if shelf is None:
            return
        self._gone()
        pipe.keep_on(None)
        if pipe in shelf:
            shelf.remove(pipe)

    def close(self, *, silent: bool = False) -> None:
        """The link is gone: what is unbound or idle closes, whoever waits is told, what is busy is looked after.

        `silent`: it ended because nothing came from the agent any more.
        """
        first, self._closed = not self._closed, True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._asking.close()
        while self._warm.drop():
            pass
        for pipe in self._bound:
            pipe.keep_on(None)
        while self._close_an_idle():
            pass
        self._fail_waiters(0, f"the link to agent {self._agent!r} ended")
        if first:
            busy: list[Busy] = [*self._bound, *self._streams]
            Outlived(busy, self._limits.silent_seconds, self._is_back, f"agent {self._agent!r}", silent=silent)

    def abort(self) -> None:
        """Reset all pipes, busy ones too."""
        self.close()
        for pipe in list(self._bound):
            pipe.cut(UpstreamFailed("the router ended the link to the agent"))
        for stream in list(self._streams):
            stream.abort()

    # --- getting one ---

    async def _waited(self, shelf: Shelf | None) -> Opened | UpstreamPipe:
        """A pipe that is not bound, or one that came back to the shelf first."""
        warm = self._warm.take()
        if warm is not None:
            self._ask()
            return warm
        await in_a_task()
        if self._closed:  # by now
            raise Unavailable(f"the link to agent {self._agent!r} ended")
        if self._open or self._asking.count:  # the first one of all says nothing of how many are used
            self._warm.grow()
        if len(self._waiters) >= self._asking.count:
            self._make_room()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if shelf is not None:
            if not shelf.waiters:
                self._keep_all(shelf, on=None)
            shelf.waiters.append(waiter)
        self._ask()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._back(waiter.result())
            if isinstance(error, TimeoutError):
                raise TimedOut(f"agent {self._agent!r} opened no pipe in {self._limits.wait_seconds:g} s") from None
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if shelf is not None:
                if waiter in shelf.waiters:
                    shelf.waiters.remove(waiter)
                if not shelf.waiters and not self._closed:
                    self._keep_all(shelf, on=shelf)
            self._asking.look_again()

    def _keep_all(self, shelf: Shelf, *, on: Shelf | None) -> None:
        """Where the pipes of this shelf are put when they are idle."""
        for pipe, its in self._bound.items():
            if its is shelf:
                pipe.keep_on(on)

    def _back(self, got: Opened | UpstreamPipe) -> None:
        """Whoever waited for it is gone."""
        if isinstance(got, tuple):
            self._hand_out(*got)
        else:
            self.returned(got)

    def _make_room(self) -> None:
        """For one more pipe: at a limit one that nobody uses goes first. Raises Unavailable."""
        limits = self._limits
        if self._open + self._asking.count >= limits.per_agent and not self.close_unused(self):
            raise Unavailable(
                f"agent {self._agent!r} has {self._open} open pipes, and the limit is {limits.per_agent} "
                "(pipes.per_agent)"
            )
        if self._total.full and not self._total.close_unused(self):
            raise Unavailable(
                f"there are {self._total.used} open pipes to all agents, and the limit is {self._total.limit} "
                "(pipes.total)"
            )

    def close_unused(self, whose: Pool) -> bool:
        """PipeTotal: close a pipe that nobody uses, so that `whose` pool can have one more; whether there was one."""
        if self._close_an_idle():
            return True
        return whose is not self and self._warm.drop()

    def _ask(self) -> None:
        """Ask for what is missing: a pipe for each waiter and the warm target, less what is under way."""
        asked = self._asking.count
        missing = self._needed() - asked
        missing = min(missing, self._limits.per_agent - self._open - asked, self._total.free)
        if missing > 0 and not self._closed:
            self._total.count(self, missing)
            self._asking.ask(missing)

    def _needed(self) -> int:
        """Pipes that are to come, if there were no limit: one for each waiter, and those that are to be warm."""
        return len(self._waiters) + max(self._warm.target - len(self._warm), 0)

    def _never_came(self, count: int) -> None:
        self._total.count(self, -count)
        while len(self._helped) > self._asking.count:
            self._helped.popleft()

    def _asked(self, came: bool, why: str) -> None:
        """A call for pipes has ended."""
        if came:
            self._ask()
        self._fail_waiters(self._asking.count, f"agent {self._agent!r} opened no pipe: {why}")

    def _fail_waiters(self, left: int, why: str) -> None:
        """All but `left` of them, for which pipes are still to come."""
        while len(self._waiters) > left:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable(why))

    def _place(self, transport: asyncio.Transport, leftover: bytes) -> None:
        self._open += 1
        self._over = over(transport)
        self._hand_out(transport, leftover)
        if self._warm.grown and self._sweeper is None:
            self._warm.count_spare()
            self._sweep_in(self._limits.idle_seconds)

    def _hand_out(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """An open pipe that nobody has: to who waits, else it is warm, else it is for the target of somebody who waited
        for it and was helped by one that came back, else it is one too many."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result((transport, leftover))
                return
        if not self._closed and self._warm.keep((transport, leftover)):
            return
        if not self._closed and self._helped:
            pipe = self._bind((transport, leftover), *self._helped.popleft())
            if not transport.is_closing():  # it may be a refusal
                self.returned(pipe)
        else:
            self._gone()
            transport.abort()

    # --- losing them ---

    def _gone(self) -> None:
        self._open -= 1
        self._total.count(self, -1)

    def _close_an_idle(self) -> bool:
        """The one that was idle for longest; whether there was one."""
        oldest = min((idle[0] for idle in self._shelves), key=lambda pipe: pipe.idle_since, default=None)
        if oldest is None:
            return False
        self.lost(oldest)
        oldest.close()
        return True

    def _sweep_in(self, seconds: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody used for too long, and look again when the next one is due."""
        self._sweeper = None
        begun_by = time.monotonic() - self._limits.idle_seconds
        for idle in self._shelves:
            while idle and idle[0].idle_since <= begun_by:
                oldest = idle[0]
                self.lost(oldest)
                oldest.close()
        spare_in = self._warm.shrink(begun_by)
        due = [idle[0].idle_since - begun_by for idle in self._shelves]
        if self._bound:
            due.append(self._limits.idle_seconds)
        if spare_in is not None:
            due.append(spare_in)
        if due:
            self._sweep_in(max(min(due), 0.01))

"""An event loop whose time is a number, and nodes that can die, freeze and be wrong about the time of day.

Belongs here: when which callback runs. Does not: what travels between nodes (simulated_network.py), what they run
(simulated_nodes.py). The code under test does not know: it is asyncio's own tasks, futures and timeouts, on a loop
that goes to the next timer at once when nothing is ready. Threads are no threads here: what is to run off the loop
runs whole, a moment later, so that a crash is before or after it.
"""

from __future__ import annotations

import asyncio
import sys
import time as real_time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from heapq import heappop
from typing import Any

DISK_SECONDS = 0.002
"""For what runs in a thread: it is done at once, and known a moment later."""
EPOCH = 1_900_000_000.0


class Node:
    """One process of the simulation: all that runs in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.clock_seconds = 0.0
        """How far its clock of the day is off."""
        self.held: deque[asyncio.Handle] = deque()
        """What would run if it were not frozen or dead."""

    def __repr__(self) -> str:
        return self.name


NODE: ContextVar[Node | None] = ContextVar("node", default=None)
NOWHERE = Context()
"""For what no node does: the network, the machines below the nodes."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Run by `run_for`; everything else as asyncio has it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self.failures: list[str] = []
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self._now

    def run_for(self, seconds: float, most: int = 200_000) -> None:
        """Raises AssertionError when nodes do more than `most` things: something is busy without an end."""
        until = self._now + seconds
        with self.running():
            for _ in range(most):
                if not self._one(until):
                    return
        raise AssertionError(f"something runs without end: {list(self._ready)[:3]}")

    def run_steps(self, count: int) -> None:
        """So many callbacks at this very time: a crash can come between any two."""
        with self.running():
            for _ in range(count):
                if not self._one(self._now):
                    return

    @contextmanager
    def running(self) -> Iterator[None]:
        """For what wants to know the loop when it is made."""
        before = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(self)
        try:
            yield
        finally:
            asyncio.events._set_running_loop(before)

    def _one(self, until: float) -> bool:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self._now):
            timer = heappop(scheduled)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                ready.append(timer)
        if not ready:
            if not scheduled or scheduled[0]._when > until:
                self._now = max(self._now, until)
                return False
            self._now = scheduled[0]._when
            return True
        handle = ready.popleft()
        if handle._cancelled:
            return True
        node = handle._context.get(NODE)
        if node is not None and (node.frozen or not node.alive):
            node.held.append(handle)
        else:
            handle._run()
        return True

    def thaw(self, node: Node) -> None:
        node.frozen = False
        self._ready.extend(node.held)
        node.held.clear()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        outcome: asyncio.Future[Any] = self.create_future()
        node = NODE.get()

        def work() -> None:
            try:
                if node is not None and not node.alive:
                    raise OSError(5, "this node is dead")
                result = func(*args)
            except BaseException as error:
                if not outcome.done():
                    outcome.set_exception(error)
            else:
                if not outcome.done():
                    outcome.set_result(result)

        self.call_later(DISK_SECONDS, work)
        return outcome

    def begin(self, work: Coroutine[Any, Any, Any], node: Node | None, name: str) -> asyncio.Task[Any]:
        """A task in that node's context."""
        context = NOWHERE.copy()
        context.run(NODE.set, node)
        with self.running():
            return self.create_task(work, name=name, context=context)

    def end(self, nodes: list[Node]) -> None:
        """The simulation is over: what is left of all tasks is unwound, without any effect."""
        for node in nodes:
            self.thaw(node)
        for _ in range(4):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.run_unwinding()
        self.close()

    def run_unwinding(self) -> None:
        until = self._now + 1000
        with self.running():
            for _ in range(100_000):
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle._cancelled:
                        handle._run()
                if not self._one(until):
                    return

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _write_to_self(self) -> None:
        pass

    def _process_events(self, event_list: Any) -> None:
        pass


class _Clock(types.ModuleType):
    """Stands for the module `time` in the code under test."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__("time")
        self._loop = loop

    def time(self) -> float:
        node = NODE.get()
        return EPOCH + self._loop.time() + (node.clock_seconds if node is not None else 0.0)

    def monotonic(self) -> float:
        return self._loop.time()

    def __getattr__(self, name: str) -> Any:
        return getattr(real_time, name)


@contextmanager
def clocks_of(loop: SimulatedLoop) -> Iterator[None]:
    """All of prouter tells the time by the loop."""
    clock = _Clock(loop)
    told = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("prouter.") and getattr(module, "time", None) is real_time
    ]
    for module in told:
        module.time = clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in told:
            module.time = real_time  # type: ignore[attr-defined]

"""Calling a plugin's code as prouter does, and seeing what it does to others meanwhile: time, cancellation, tasks.

Belongs here: what is the same for every kind of thing. Does not: what one kind must answer (the modules beside it).
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, NoReturn

from prouter.pluginkit.tasks import owned

BLOCKED_SECONDS = 0.1
"""Code that holds the event loop for longer is named in a router's log; everybody waits for it."""
TRIES = 3
"""A slow machine is no mistake of the plugin: it must have held the loop each time."""
ANSWER_SECONDS = 5.0
"""For an answer where the hook says nothing else."""
CANCEL_SECONDS = 1.0
WAITS = 12
"""At so many of its waits a call is cancelled."""

Asked = Callable[[], Any]
"""Calls the plugin once; what it gives may be awaitable."""


class ContractBroken(AssertionError):
    """A plugin does not do what prouter expects. The text says who, what and what to do."""


def broken(who: str, why: str) -> NoReturn:
    """Raises ContractBroken."""
    raise ContractBroken(f"{who}: {why}")


@dataclass(slots=True)
class Outcome:
    """How a call ended."""

    value: Any = None
    error: Exception | None = None
    held_seconds: float = 0.0
    """The longest that it kept the loop for itself."""


class Stepped:
    """An awaitable whose steps are timed; `at_wait` is called with the number of each of its waits."""

    def __init__(self, work: Awaitable[Any], at_wait: Callable[[int], None] | None = None) -> None:
        self._work = work
        self._at_wait = at_wait
        self.held_seconds = 0.0
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._work.__await__()
        step: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        while True:
            begun = time.perf_counter()
            try:
                waited_for = step()
            except StopIteration as done:
                return done.value
            finally:
                self.held_seconds = max(self.held_seconds, time.perf_counter() - begun)
            if self._at_wait is not None:
                self._at_wait(self.waits)
            self.waits += 1
            try:
                sent = yield waited_for
            except BaseException as error:  # noqa: BLE001 -- what it is goes on to where it was thrown
                step = _thrower(steps, error)
            else:
                step = _sender(steps, sent)


async def answer_of(who: str, ask: Asked, seconds: float = ANSWER_SECONDS, *, leaves_tasks: bool = False) -> Outcome:
    """Its value or its error. Raises ContractBroken when it is late, holds the loop, or leaves tasks of its own."""
    before = asyncio.all_tasks()
    outcome = await _one_answer(who, ask, seconds)
    for _ in range(TRIES - 1):
        if outcome.held_seconds <= BLOCKED_SECONDS:
            break
        outcome = await _one_answer(who, ask, seconds)
    else:
        if outcome.held_seconds > BLOCKED_SECONDS:
            why = f"it held the event loop for {outcome.held_seconds:.2f} s, in which nobody else is served"
            broken(who, f"{why}; await what takes time, or put it into asyncio.to_thread")
    if not leaves_tasks:
        await no_task_left(who, before)
    return outcome


async def survives_cancellation(who: str, ask: Asked, *, leaves_tasks: bool = False) -> None:
    """Cancelled at each of its waits it ends at once, leaves nothing, and says so. Raises ContractBroken."""
    for number in range(WAITS):
        before = asyncio.all_tasks()
        reached = await _cancelled_at(who, ask, number)
        if not leaves_tasks:
            await no_task_left(who, before, "a cancelled call")
        if not reached:
            return


async def no_task_left(who: str, before: set[asyncio.Task[Any]], what: str = "the call") -> None:
    """Raises ContractBroken when there are tasks that were not there before, and that nobody will end."""
    for _ in range(20):
        left = {task for task in asyncio.all_tasks() - before if not task.done() and not owned(task)}
        if not left:
            return
        await asyncio.sleep(0.005)
    names = ", ".join(sorted(f"{task.get_name()} of {_work(task)}" for task in left))
    broken(who, f"{what} left tasks behind ({names}); await them, or start them with the services' `tasks`")


async def _one_answer(who: str, ask: Asked, seconds: float) -> Outcome:
    outcome = Outcome()
    begun = time.perf_counter()
    try:
        value = ask()
        outcome.held_seconds = time.perf_counter() - begun
        if inspect.isawaitable(value):
            stepped = Stepped(value)
            try:
                async with asyncio.timeout(seconds) as deadline:
                    value = await stepped
            except TimeoutError:
                if deadline.expired():
                    broken(who, f"it did not answer within {seconds:g} s")
                raise
            finally:
                outcome.held_seconds = max(outcome.held_seconds, stepped.held_seconds)
        outcome.value = value
    except ContractBroken:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        broken(who, "it raised CancelledError though nobody had cancelled it")
    except Exception as error:  # noqa: BLE001 -- what it is is judged by who asked
        outcome.error = error
    except SystemExit:
        broken(who, "it raised SystemExit; a plugin says no with an error of prouter.errors")
    return outcome


async def _cancelled_at(who: str, ask: Asked, number: int) -> bool:
    """Whether it came to that wait."""
    value = ask()
    if not inspect.isawaitable(value):
        return False
    reached = asyncio.Event()

    def cancel(wait: int) -> None:
        if wait == number:
            reached.set()
            asyncio.get_running_loop().call_soon(task.cancel)

    async def run() -> Any:
        return await Stepped(value, cancel)

    task, waiting = asyncio.ensure_future(run()), asyncio.ensure_future(reached.wait())
    await asyncio.wait((task, waiting), timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not reached.is_set():
        task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_SECONDS)
    if not task.done():
        task.cancel()
        broken(who, f"cancelled at its wait {number + 1}, it did not end; let CancelledError pass")
    if reached.is_set() and not task.cancelled():
        error = task.exception()
        did = f"raised {type(error).__name__}" if error is not None else f"answered {task.result()!r}"
        broken(who, f"cancelled at its wait {number + 1}, it {did}; let CancelledError pass")
    if not task.cancelled():
        task.exception()  # it is known, nobody needs to be told of it
    return reached.is_set()


def _sender(steps: Any, value: Any) -> Callable[[], Any]:
    return lambda: steps.send(value)


def _thrower(steps: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(error)


def _work(task: asyncio.Task[Any]) -> str:
    """What it runs, by its name."""
    return getattr(task.get_coro(), "__qualname__", type(task.get_coro()).__name__)

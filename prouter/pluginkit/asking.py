"""One implementation of a hook, asked once: under its deadline, counted, watched while it holds the event loop.

A coroutine is stepped here, so that one which never waits costs no deadline, and one which computes between two waits
for longer than it may is named like a plain function. Not seen are threads, tasks that a plugin starts, and callbacks.
Belongs here: the call of one. Does not: who is asked, and what the answers together mean (calling.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from operator import itemgetter
from time import perf_counter
from types import CoroutineType
from typing import Any, NoReturn

from prouter.errors import PluginFailure, ProuterError
from prouter.model import unexpected
from prouter.model.traffic import HookCount
from prouter.pipe.steps import in_a_task
from prouter.pluginkit.answers import Fits, described
from prouter.pluginkit.seldom import SECONDS

log = logging.getLogger(__name__)

NOT_BEGUN = object()
GRACE_SECONDS = 1.0
"""For an implementation to end once it was cancelled: it may have something to close."""


class Implementation:
    """One plugin's answer to one hook."""

    __slots__ = (
        "_answer",
        "_blocked_seconds",
        "_function",
        "_pick",
        "_said_at",
        "count",
        "deadline_seconds",
        "fits",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[str],
        count: HookCount,
        *,
        deadline_seconds: float,
        blocked_seconds: float,
        fits: Fits,
        answer: str,
    ) -> None:
        self._function = function
        self._pick = _picker(arguments)
        self._blocked_seconds = blocked_seconds
        self.fits = fits
        self._answer = answer
        """What is wanted, in words."""
        self._said_at: float | None = None
        self.count = count
        self.deadline_seconds = deadline_seconds

    @property
    def plugin(self) -> str:
        return self.count.plugin

    @property
    def hook(self) -> str:
        return self.count.hook

    def ask(self, arguments: Mapping[str, Any]) -> Any:
        """The answer, or a Pending one that is to be finished. Raises PluginFailure, and errors that are meant."""
        begun = perf_counter()
        try:
            value = self._function(*self._pick(arguments))
        except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
            self._fail(error, begun)
        if value is not None and hasattr(type(value), "__await__"):
            return self._step(value, begun)
        seconds, count = perf_counter() - begun, self.count  # as `_answered`, which would cost a tenth more
        count.calls += 1
        count.seconds += seconds
        if seconds > count.slowest_seconds:
            count.slowest_seconds = seconds
        if seconds > self._blocked_seconds:
            self.held(seconds)
        return value if value is None or self.fits(value) else self.refuse(value, seconds)

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """What it returns or raises, as it is: for plain functions that are asked at a start."""
        begun = perf_counter()
        try:
            return self._function(*self._pick(arguments))
        except BaseException:
            self.count.failures += 1
            raise
        finally:
            self._add(perf_counter() - begun)

    def refuse(self, value: Any, seconds: float = 0.0) -> Any:
        """Raises PluginFailure: this answer is none."""
        self.count.failures += 1
        why = self.instead(value)
        log.error("plugin %s failed in %s after %.3f s: %s", self.plugin, self.hook, seconds, why)
        raise PluginFailure(self.plugin, self.hook, why, seconds)

    def instead(self, value: Any) -> str:
        """In words, how an answer is wrong."""
        return f"it answered {described(value)} instead of {self._answer}"

    def held(self, seconds: float) -> None:
        """For so long nothing else could run."""
        if seconds > self._blocked_seconds:
            log.warning("plugin %s held the event loop for %.2f s in %s", self.plugin, seconds, self.hook)

    def _step(self, value: Any, begun: float) -> Any:
        """The first step of something to await; most coroutines need no other. A coroutine may want a task to be there
        (asyncio.timeout does), so that without one it is begun later."""
        work: Coroutine[Any, Any, Any] = value if type(value) is CoroutineType else _awaited(value)
        if asyncio.current_task() is None:
            return Pending(self, work, NOT_BEGUN, begun)
        try:
            waiting = work.send(None)
        except StopIteration as done:
            return self._answered(done.value, perf_counter() - begun)
        except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
            self._fail(error, begun)
        self.held(perf_counter() - begun)
        return Pending(self, work, waiting, begun)

    def _answered(self, value: Any, seconds: float) -> Any:
        """Without waiting."""
        self._add(seconds)
        if seconds > self._blocked_seconds:
            self.held(seconds)
        return value if value is None or self.fits(value) else self.refuse(value, seconds)

    async def finish(self, pending: Pending) -> Any:
        """The rest of what `ask` began. Raises as `ask` does."""
        deadline: asyncio.Timeout | None = None
        try:
            await in_a_task()
        except BaseException:
            pending.drop()
            raise
        task = asyncio.current_task()
        wanted_before = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(self.deadline_seconds) as deadline:
                value = await pending
            if deadline.expired():
                raise TimeoutError  # it kept to itself that its time was up: what it says then counts for nothing
            if task is not None and task.cancelling() > wanted_before:
                raise asyncio.CancelledError  # the caller's own, which the plugin kept to itself
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
            self._fail(error, pending.begun, late=deadline is not None and deadline.expired())
        seconds = perf_counter() - pending.begun
        self._add(seconds)
        return value if value is None or self.fits(value) else self.refuse(value, seconds)

    def _fail(self, error: BaseException, begun: float, *, late: bool = False) -> NoReturn:
        """Raises what the caller gets instead. Its own cancellation is nobody's failure."""
        seconds = perf_counter() - begun
        self._add(seconds)
        if isinstance(error, ProuterError):
            raise error
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise error
        self.count.failures += 1
        if isinstance(error, asyncio.CancelledError):
            why = "it cancelled itself"
        elif late:
            why = f"it did not answer within {self.deadline_seconds:g} s"
        else:
            why = type(error).__name__
            unexpected.tell(error, f"{self.hook} of plugin {self.plugin}")
        shown = error if why == type(error).__name__ and self._is_news() else None
        log.error("plugin %s failed in %s after %.3f s: %s", self.plugin, self.hook, seconds, why, exc_info=shown)
        raise PluginFailure(self.plugin, self.hook, why, seconds) from error

    def _is_news(self) -> bool:
        """Whether a traceback is shown: one now and then is enough."""
        now = time.monotonic()
        if self._said_at is not None and now - self._said_at < SECONDS:
            return False
        self._said_at = now
        return True

    def _add(self, seconds: float) -> None:
        count = self.count
        count.calls += 1
        count.seconds += seconds
        if seconds > count.slowest_seconds:
            count.slowest_seconds = seconds


class Pending:
    """An answer for which its implementation waits. To be finished by the task that asked, at once."""

    __slots__ = ("_asked", "_overdue", "_waiting", "_work", "begun")

    def __init__(self, asked: Implementation, work: Coroutine[Any, Any, Any], waiting: Any, begun: float) -> None:
        self._asked = asked
        self._work = work
        self._waiting = waiting
        """What its first step waits for, as the event loop wants it; NOT_BEGUN before that."""
        self._overdue = False
        """It was cancelled, and went on for longer than it may."""
        self.begun = begun

    async def finish(self) -> Any:
        """Raises as `ask` does."""
        return await self._asked.finish(self)

    def drop(self) -> None:
        """Its caller goes away before it was finished."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        """The other steps, each watched."""
        waiting, work, held = self._waiting, self._work, self._asked.held
        reminder: asyncio.TimerHandle | None = None
        try:
            while True:
                sent, thrown = None, None
                try:
                    sent = (yield waiting) if waiting is not NOT_BEGUN else None
                except GeneratorExit:
                    work.close()
                    raise
                except BaseException as error:  # noqa: BLE001 -- handed over to the one that waits
                    thrown = error
                if self._overdue:
                    self._abandon()
                begun = perf_counter()
                try:
                    waiting = work.send(sent) if thrown is None else work.throw(thrown)
                except StopIteration as done:
                    return done.value
                except GeneratorExit as error:
                    raise RuntimeError("it raised GeneratorExit") from error  # nobody has closed it
                finally:
                    held(perf_counter() - begun)
                if reminder is None and isinstance(thrown, asyncio.CancelledError):
                    reminder = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._remind, _this_task())
        finally:
            if reminder is not None:
                reminder.cancel()

    def _remind(self, task: asyncio.Task[Any]) -> None:
        self._overdue = True
        task.cancel()

    def _abandon(self) -> NoReturn:
        """It does not end although it was cancelled: its caller goes on without it. Raises CancelledError."""
        _this_task().uncancel()  # that was the reminder
        log.error("plugin %s does not end in %s although it was cancelled", self._asked.plugin, self._asked.hook)
        with contextlib.suppress(BaseException):
            self._work.close()
        raise asyncio.CancelledError


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _is_cancelled() -> bool:
    """Whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """The values of these arguments, in this order."""
    if not names:
        return lambda arguments: ()
    if len(names) == 1:
        (only,) = names
        return lambda arguments: (arguments[only],)
    return itemgetter(*names)


async def _awaited(value: Any) -> Any:
    return await value

"""One implementation of a hook, asked once: under its deadline, counted, watched while it holds the event loop.

A coroutine is stepped here, so that one which never waits costs no deadline, and one which computes between two waits
for longer than it may is named like a plain function. Not seen are threads, tasks that a plugin starts, and callbacks.
Belongs here: the call of one. Does not: who is asked, and what the answers together mean (calling.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from operator import itemgetter
from types import CoroutineType
from typing import Any, NoReturn

from prouter.errors import PluginFailure, ProuterError
from prouter.model import unexpected
from prouter.model.traffic import HookCount
from prouter.pluginkit.answers import Fits, described
from prouter.pluginkit.seldom import SECONDS

log = logging.getLogger(__name__)


class Implementation:
    """One plugin's answer to one hook."""

    __slots__ = ("_answer", "_blocked_seconds", "_function", "_pick", "_said_at", "count", "deadline_seconds", "fits")

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
        begun = time.perf_counter()
        try:
            value = self._function(*self._pick(arguments))
        except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
            self._fail(error, begun)
        if value is not None and hasattr(type(value), "__await__"):
            return self._step(value, begun)
        return self._answered(value, time.perf_counter() - begun)

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """What it returns or raises, as it is: for plain functions that are asked at a start."""
        begun = time.perf_counter()
        try:
            return self._function(*self._pick(arguments))
        except BaseException:
            self.count.failures += 1
            raise
        finally:
            self._add(time.perf_counter() - begun)

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
        """The first step of something to await; most coroutines need no other."""
        work: Coroutine[Any, Any, Any] = value if type(value) is CoroutineType else _awaited(value)
        try:
            waiting = work.send(None)
        except StopIteration as done:
            return self._answered(done.value, time.perf_counter() - begun)
        except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
            self._fail(error, begun)
        self.held(time.perf_counter() - begun)
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
            async with asyncio.timeout(self.deadline_seconds) as deadline:
                value = await pending
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
            self._fail(error, pending.begun, late=deadline is not None and deadline.expired())
        seconds = time.perf_counter() - pending.begun
        self._add(seconds)
        return value if value is None or self.fits(value) else self.refuse(value, seconds)

    def _fail(self, error: BaseException, begun: float, *, late: bool = False) -> NoReturn:
        """Raises what the caller gets instead. Its own cancellation is nobody's failure."""
        seconds = time.perf_counter() - begun
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

    __slots__ = ("_asked", "_waiting", "_work", "begun")

    def __init__(self, asked: Implementation, work: Coroutine[Any, Any, Any], waiting: Any, begun: float) -> None:
        self._asked = asked
        self._work = work
        self._waiting = waiting
        """What its first step waits for, as the event loop wants it."""
        self.begun = begun

    async def finish(self) -> Any:
        """Raises as `ask` does."""
        return await self._asked.finish(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        """The other steps, each watched."""
        waiting, work = self._waiting, self._work
        while True:
            thrown: BaseException | None = None
            sent = None
            try:
                sent = yield waiting
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 -- handed over to the one that waits
                thrown = error
            begun = time.perf_counter()
            try:
                waiting = work.send(sent) if thrown is None else work.throw(thrown)
            except StopIteration as done:
                return done.value
            finally:
                self._asked.held(time.perf_counter() - begun)


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

"""What plugins hand over and others await (a route's handler, a selector, a task): who holds the event loop is named.

Belongs here: looking at each step between two waits. Does not: hooks, which asking.py steps itself, with a deadline.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Generator
from time import perf_counter
from types import CoroutineType
from typing import Any, Generic, TypeVar

from prouter.model.http import Reply
from prouter.model.plugin import Call, Relay, Route

log = logging.getLogger(__name__)

T = TypeVar("T")


class Watch:
    """Of one plugin."""

    __slots__ = ("_blocked_seconds", "_plugin")

    def __init__(self, plugin: str, blocked_seconds: float) -> None:
        self._plugin = plugin
        self._blocked_seconds = blocked_seconds

    def over(self, work: Awaitable[T], what: str) -> Awaitable[T]:
        """The same work, to be awaited once; `what` says for people what it is."""
        return _Watched(work, self, what)

    def held(self, seconds: float, what: str) -> None:
        """For so long nothing else could run."""
        if seconds > self._blocked_seconds:
            log.warning("plugin %s held the event loop for %.2f s in %s", self._plugin, seconds, what)

    def route(self, route: Route) -> Route:
        """The same route, its handler or choice of relay watched."""
        what = f"{','.join(route.methods)} {route.path}"
        handler, relay = route.handler, route.relay

        async def handled(call: Call) -> Any:
            assert handler is not None
            return await self.over(handler(call), what)

        async def relayed(call: Call) -> Relay | Reply:
            assert relay is not None
            return await self.over(relay(call), what)

        return dataclasses.replace(route, handler=handler and handled, relay=relay and relayed)


class _Watched(Generic[T]):
    __slots__ = ("_watch", "_what", "_work")

    def __init__(self, work: Awaitable[T], watch: Watch, what: str) -> None:
        self._work = work if type(work) is CoroutineType else _awaited(work)
        self._watch = watch
        self._what = what

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        sent, thrown = None, None
        while True:
            begun = perf_counter()
            try:
                waiting = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as done:
                answer: T = done.value
                return answer
            finally:
                self._watch.held(perf_counter() - begun, self._what)
            sent, thrown = None, None
            try:
                sent = yield waiting
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 -- handed over to the one that waits
                thrown = error


async def _awaited(work: Awaitable[T]) -> T:
    return await work

"""The one place that calls hooks. pluggy does not await: we walk the implementations, each under a deadline.

What an implementation raises: an error of ours (a ProuterError) is deliberate and passes through; cancellation of the
caller passes through; everything else, a deadline and SystemExit too, is a PluginFailure with plugin and hook. Where
nobody implements a hook nothing is built, called or awaited: ask `implemented` first.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from prouter.errors import ConfigError, PluginFailure, ProuterError, StartupError
from prouter.model import unexpected
from prouter.model.access import Refusal
from prouter.model.http import Reply, RequestHead
from prouter.model.trail import current as trail
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.tasks import TaskOwner

log = logging.getLogger(__name__)

BLOCKED_SECONDS = 0.1
"""A synchronous implementation that holds the event loop for longer is named in the log."""
NEWS_KEPT = 1000
"""Of each observing plugin; the oldest is dropped when it does not keep up."""
MISSED = "prouter_news_missed"
"""The hook by which an observer is told how many were dropped, in their place."""
EXCEPTION = "prouter_handle_exception"
"""The hook by which unexpected exceptions are told; its own are only logged."""
MUTED_AFTER = 20
"""Failures in a row after which an observer is not told any more."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """One plugin's answer to one hook."""

    plugin: str
    function: Callable[..., Any]
    arguments: Sequence[str]
    deadline_seconds: float


class Hooks:
    """Calls the hooks of one app."""

    def __init__(self, host: PluginHost) -> None:
        self._host = host
        self._cache: dict[str, tuple[Implementation, ...]] = {}
        self._generation = -1
        self._observers: dict[str, _Observer] = {}
        self._tasks = TaskOwner("hooks")
        self._started: list[str] = []

    def implemented(self, hook: str) -> bool:
        """Whether anybody implements it."""
        return bool(self._implementations(hook))

    def plugins(self, hook: str) -> list[str]:
        """Who implements it, in the order in which they are asked."""
        return [found.plugin for found in self._implementations(hook)]

    def collect(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """(plugin, value) of each, in the order of loading. One that fails is disabled with the reason."""
        collected = []
        for found in self._implementations(hook):
            try:
                value = _call(found, arguments)
                if value is not None and inspect.isawaitable(value):
                    _discard(value)
                    raise TypeError(f"{hook} must be a plain function")
                value = self._collected(hook, value)
            except ConfigError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- the boundary of a hook call
                unexpected.tell(error, f"{hook} of plugin {found.plugin}")
                self._host.disable(found.plugin, f"{hook}: {type(error).__name__}: {error}")
                continue
            if value is not None:
                collected.append((found.plugin, value))
        return collected

    async def first(self, hook: str, *, only: Sequence[str] | None = None, **arguments: Any) -> tuple[str, Any] | None:
        """The first answer that is not None, with its plugin. `only` names who is asked, in its order. Fails closed."""
        implementations = self._implementations(hook)
        if only is not None:
            implementations = tuple(found for name in only for found in implementations if found.plugin == name)
        ask = self._ask if trail.get() is None else self._ask_recorded
        for found in implementations:
            value = await ask(hook, found, arguments)
            if value is not None:
                return found.plugin, value
        return None

    async def chain(self, hook: str, **arguments: Any) -> Any:
        """Each gets what the last one made of the chained argument; None leaves it. A Reply to a request ends it."""
        chained: str = self._spec(hook, "prouter_chained")
        kind = type(arguments[chained])
        ask = self._ask if trail.get() is None else self._ask_recorded
        for found in self._implementations(hook):
            value = await ask(hook, found, arguments)
            if value is None:
                continue
            if isinstance(value, Reply) and issubclass(kind, RequestHead):
                return value
            if not isinstance(value, kind):
                raise PluginFailure(found.plugin, hook, f"it answered {type(value).__name__}")
            arguments[chained] = value
        return arguments[chained]

    async def veto(self, hook: str, **arguments: Any) -> tuple[str, Refusal] | None:
        """All are asked; the first refusal wins. Fails closed."""
        ask = self._ask if trail.get() is None else self._ask_recorded
        for found in self._implementations(hook):
            value = await ask(hook, found, arguments)
            if value is None:
                continue
            if not isinstance(value, Refusal):
                raise PluginFailure(found.plugin, hook, f"it answered {type(value).__name__} instead of a Refusal")
            return found.plugin, value
        return None

    async def gather(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """(plugin, value) of all that answered; one that fails is logged and missing."""
        answers = []
        for plugin, value in await self.each(hook, **arguments):
            if isinstance(value, ProuterError):
                log.warning("%s of plugin %s is missing: %s", hook, plugin, value.detail)
            elif value is not None:
                answers.append((plugin, value))
        return answers

    async def each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """(plugin, its answer or the ProuterError that it failed with) of all, None included."""
        answers: list[tuple[str, Any]] = []
        for found in self._implementations(hook):
            try:
                answers.append((found.plugin, await self._ask(hook, found, arguments)))
            except ProuterError as error:
                self._host.count_failure(found.plugin)
                answers.append((found.plugin, error))
        return answers

    async def setup(self, hook: str, bundle: Callable[[str], Mapping[str, Any]]) -> None:
        """In the order of loading, each with arguments of its own.

        Raises StartupError naming who failed, ConfigError.
        """
        for found in self._implementations(hook):
            try:
                await self._ask(hook, found, bundle(found.plugin), serving=False)
            except (ConfigError, StartupError):
                raise
            except ProuterError as error:
                raise StartupError(f"the plugin {found.plugin!r} failed to start: {error.detail}") from error
            self._started.append(found.plugin)

    def notify(self, hook: str, *, subject: str, **arguments: Any) -> None:
        """Tell all observers, later and in order; they can neither fail nor delay the caller."""
        for found in self._implementations(hook):
            observer = self._observers.get(found.plugin)
            if observer is None:
                missed = next((other for other in self._implementations(MISSED) if other.plugin == found.plugin), None)
                observer = self._observers[found.plugin] = _Observer(found.plugin, self._host, self._ask, missed)
            if observer.tell(hook, found, arguments):
                self._tasks.start(f"news for {found.plugin} of {subject}", observer.work())

    def hear_exceptions(self) -> None:
        """From now on, in this context and all that is begun in it, unexpected exceptions are told to plugins.

        To be called at the beginning of an app's start, before anything listens or any task is made.
        """
        unexpected.listener.set(self._tell_exception if self.implemented(EXCEPTION) else None)

    def _tell_exception(self, error: BaseException, about: str) -> None:
        with unexpected.in_silence():
            self.notify(EXCEPTION, subject="exceptions", error=error, about=about)

    async def close(self, deadline_seconds: float = 5.0) -> None:
        """Observers get what is queued within the deadline; then all plugins shut down, last started first."""
        await self._tasks.finish(deadline_seconds)
        await self._tasks.close(1.0)
        found = {implementation.plugin: implementation for implementation in self._implementations("prouter_shutdown")}
        for plugin in reversed(self._started):
            if plugin in found:
                try:
                    await self._ask("prouter_shutdown", found[plugin], {})
                except ProuterError as error:
                    log.error("plugin %s did not shut down: %s", plugin, error.detail)
        self._started.clear()

    async def _ask_recorded(self, hook: str, found: Implementation, arguments: Mapping[str, Any]) -> Any:
        """The same, in a context where somebody wants to know; elsewhere nothing of this is built."""
        told = trail.get()
        assert told is not None
        begun = time.perf_counter()
        try:
            value = await self._ask(hook, found, arguments)
        except ProuterError as error:
            told.failed(hook, found.plugin, arguments, error.detail, time.perf_counter() - begun)
            raise
        seconds = time.perf_counter() - begun
        told.answered(hook, found.plugin, arguments, self._spec(hook, "prouter_chained"), value, seconds)
        return value

    async def _ask(
        self, hook: str, found: Implementation, arguments: Mapping[str, Any], *, serving: bool = True
    ) -> Any:
        """Not `serving`: nobody is held up by a plugin that takes its time, as for imports at a start."""
        begun = time.perf_counter()
        deadline: asyncio.Timeout | None = None
        try:
            value = _call(found, arguments)
            held = time.perf_counter() - begun
            if serving and held > BLOCKED_SECONDS:
                log.warning("plugin %s held the event loop for %.2f s in %s", found.plugin, held, hook)
            if inspect.isawaitable(value):
                async with asyncio.timeout(found.deadline_seconds) as deadline:
                    return await value
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise PluginFailure(found.plugin, hook, "it cancelled itself") from error
        except ProuterError:
            raise
        except (Exception, SystemExit) as error:
            if deadline is not None and deadline.expired():
                why = f"it did not answer within {found.deadline_seconds:g} s"
                raise PluginFailure(found.plugin, hook, why) from error
            log.error("plugin %s failed in %s", found.plugin, hook, exc_info=error)
            unexpected.tell(error, f"{hook} of plugin {found.plugin}")
            raise PluginFailure(found.plugin, hook, type(error).__name__) from error
        return value

    def _implementations(self, hook: str) -> tuple[Implementation, ...]:
        """In the order in which they are asked."""
        if self._generation != self._host.generation:
            self._cache.clear()
            self._generation = self._host.generation
        found = self._cache.get(hook)
        if found is None:
            deadline = self._spec(hook, "prouter_deadline")
            found = tuple(
                Implementation(implementation.plugin_name, implementation.function, implementation.argnames, deadline)
                for implementation in self._host.implementations(hook)
            )
            self._cache[hook] = found
        return found

    def _collected(self, hook: str, value: Any) -> Any:
        """A sequence's members are read here, where a plugin that hands over something else is still left out."""
        wanted = get_type_hints(self._function(hook))["return"]
        if value is None or get_origin(wanted) is not Sequence:
            return value
        members = list(value)
        (kind,) = get_args(wanted)
        for member in members:
            fits = hasattr(member, "name") if getattr(kind, "_is_protocol", False) else isinstance(member, kind)
            if not fits:
                raise TypeError(f"{type(member).__name__} is no {kind.__name__}")
        return members

    def _spec(self, hook: str, attribute: str) -> Any:
        return getattr(self._function(hook), attribute)

    def _function(self, hook: str) -> Any:
        return getattr(self._host.manager.hook, hook).spec.function


class _Observer:
    """News for one plugin: bounded, in order, muted when the plugin keeps failing. What it misses it is told of."""

    def __init__(self, plugin: str, host: PluginHost, ask: Callable[..., Any], missed: Implementation | None) -> None:
        self._plugin = plugin
        self._host = host
        self._ask = ask
        self._missed = missed
        self._news: deque[tuple[str, Implementation, Mapping[str, Any]]] = deque(maxlen=NEWS_KEPT)
        self._working = False
        self._failures = 0
        self._dropped = 0

    def tell(self, hook: str, found: Implementation, arguments: Mapping[str, Any]) -> bool:
        """Whether somebody must begin to work."""
        if self._failures >= MUTED_AFTER:
            return False
        if len(self._news) == NEWS_KEPT:
            self._dropped += 1
            if self._dropped == 1:
                log.warning("plugin %s does not keep up with its news; the oldest is dropped", self._plugin)
        self._news.append((hook, found, arguments))
        begin, self._working = not self._working, True
        return begin

    async def work(self) -> None:
        try:
            while self._news:
                if self._dropped:
                    await self._tell_missed()
                    continue
                await self._tell(*self._news.popleft())
        finally:
            self._working = False

    async def _tell_missed(self) -> None:
        """The oldest were dropped: that comes before what is left."""
        count, self._dropped = self._dropped, 0
        log.warning("plugin %s missed %d of its news", self._plugin, count)
        if self._missed is not None:
            await self._tell(MISSED, self._missed, {"count": count})

    async def _tell(self, hook: str, found: Implementation, arguments: Mapping[str, Any]) -> None:
        try:
            if hook == EXCEPTION:
                with unexpected.in_silence():
                    await self._ask(hook, found, arguments)
            else:
                await self._ask(hook, found, arguments)
            self._failures = 0
        except ProuterError as error:
            self._failed(hook, error)

    def _failed(self, hook: str, error: ProuterError) -> None:
        self._failures += 1
        self._host.count_failure(self._plugin)
        log.error("%s: %s", hook, error.detail)
        if self._failures >= MUTED_AFTER:
            self._news.clear()
            log.error("plugin %s is told nothing any more: it failed %s times in a row", self._plugin, MUTED_AFTER)


def _call(found: Implementation, arguments: Mapping[str, Any]) -> Any:
    return found.function(*[arguments[name] for name in found.arguments])


def _discard(value: Any) -> None:
    close = getattr(value, "close", None)
    if close is not None:
        close()

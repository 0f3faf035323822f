"""The one place that calls hooks. pluggy does not await: we walk the implementations, each under a deadline.

What an implementation raises: an error of ours (a ProuterError) is deliberate and passes through; cancellation of the
caller passes through; everything else, a deadline, a SystemExit and an answer that is none too, is a PluginFailure with
plugin and hook. Where nobody implements a hook nothing is built, called or awaited: ask `implemented` first.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_origin

from prouter.errors import ConfigError, PluginFailure, ProuterError, StartupError
from prouter.model import unexpected
from prouter.model.access import Refusal
from prouter.model.http import Reply
from prouter.model.traffic import HookCount
from prouter.model.trail import Trail
from prouter.model.trail import current as trail
from prouter.pluginkit.answers import fits, result_of, words
from prouter.pluginkit.asking import Implementation, Pending
from prouter.pluginkit.claims import Claims, Clash, Owners
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.limits import CallLimits
from prouter.pluginkit.observing import EXCEPTION, MISSED, Observer
from prouter.pluginkit.tasks import TaskOwner
from prouter.pluginkit.watching import Watch

log = logging.getLogger(__name__)

STARTUP = "prouter_startup"
SHUTDOWN = "prouter_shutdown"


class Hooks:
    """Calls the hooks of one app."""

    def __init__(self, host: PluginHost, limits: CallLimits | None = None) -> None:
        """Raises ConfigError for limits of a hook that there is not."""
        self._host = host
        self._limits = limits or CallLimits()
        self._limits.check(host.hooks())
        self._cache: dict[str, tuple[Implementation, ...]] = {}
        self._chosen: dict[str, tuple[Sequence[str], tuple[Implementation, ...]]] = {}
        """By hook, for the names that were asked for last: mostly the same ones."""
        self._counts: dict[tuple[str, str], HookCount] = {}
        self._generation = -1
        self._observers: dict[str, Observer] = {}
        self._tasks = TaskOwner("hooks")
        self._started: list[tuple[str, Implementation | None]] = []
        """Plugins, each with what ends it; one that was left out since has it, too."""
        self._owned: dict[str, TaskOwner] = {}
        self._settled: dict[str, list[tuple[str, Any]]] = {}

    @property
    def generation(self) -> int:
        """Another number when a plugin has come or gone."""
        return self._host.generation

    def implemented(self, hook: str) -> bool:
        """Whether anybody implements it."""
        return bool(self._implementations(hook))

    def plugins(self, hook: str) -> list[str]:
        """Who implements it, in the order in which they are asked."""
        return [found.plugin for found in self._implementations(hook)]

    def counts(self) -> list[HookCount]:
        """Of all implementations that were called."""
        return [count for count in self._counts.values() if count.calls]

    def queues(self) -> Mapping[str, Mapping[str, Any]]:
        """Of news, by plugin that was ever told any."""
        return {plugin: observer.state() for plugin, observer in self._observers.items()}

    def collect(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """(plugin, value) of each, in the order of loading. One that fails is disabled with the reason."""
        if hook in self._settled:
            loaded = self._host.loaded()
            return [(plugin, value) for plugin, value in self._settled[hook] if plugin in loaded]
        collected = []
        for found in self._implementations(hook):
            try:
                value = self._collected(found, arguments)
            except ConfigError:
                raise
            except BaseException as error:  # noqa: BLE001 -- the boundary of a hook call
                unexpected.tell(error, f"{hook} of plugin {found.plugin}")
                self._host.disable(found.plugin, f"{hook}: {type(error).__name__}: {error}")
                continue
            if value is not None:
                collected.append((found.plugin, value))
        return collected

    async def settle(self, claims: Mapping[str, Claims], taken: Mapping[str, str] | None = None) -> None:
        """Collect these hooks, once, so that nothing has two owners: `collect` answers from it afterwards.

        The plugin that claims what one that was loaded before it has is left out as a whole and shut down.
        `taken`: claims that are no plugin's to make. Raises StartupError as `PluginHost.disable` does.
        """
        offered = {hook: dict(self.collect(hook)) for hook in claims}
        owners = Owners(taken or {})
        for plugin in list(self._host.loaded()):
            theirs = [(hook, claims[hook], member) for hook in claims for member in offered[hook].get(plugin, ())]
            try:
                owners.add(self._host.origin(plugin), theirs)
            except Clash as error:
                self._host.disable(plugin, str(error))
        loaded = set(self._host.loaded())
        for plugin, end in list(self._started):
            if plugin not in loaded:
                self._started.remove((plugin, end))
                await self._shut_down(plugin, end)
                if plugin in self._owned:
                    await self._owned[plugin].close(1.0)
        for hook, values in offered.items():
            self._settled[hook] = [(plugin, value) for plugin, value in values.items() if plugin in loaded]

    def watch(self, plugin: str) -> Watch:
        """Over what it hands over and others await."""
        return Watch(plugin, self._limits.blocked_seconds)

    def owns(self, plugin: str, tasks: TaskOwner) -> None:
        """These end when the plugin is left out after its start."""
        self._owned[plugin] = tasks

    async def first(self, hook: str, *, only: Sequence[str] | None = None, **arguments: Any) -> tuple[str, Any] | None:
        """The first answer that is not None, with its plugin. `only` names who is asked, in its order. Fails closed."""
        told = trail.get()
        for found in self._implementations(hook) if only is None else self._named(hook, only):
            value = found.ask(arguments) if told is None else await self._ask_recorded(told, found, arguments)
            if type(value) is Pending:
                value = await value.finish()
            if value is not None:
                return found.plugin, value
        return None

    async def chain(self, hook: str, **arguments: Any) -> Any:
        """Each gets what the last one made of the chained argument; None leaves it. A Reply to a request ends it."""
        chained: str = self._spec(hook, "prouter_chained")
        told = trail.get()
        for found in self._implementations(hook):
            value = found.ask(arguments) if told is None else await self._ask_recorded(told, found, arguments)
            if type(value) is Pending:
                value = await value.finish()
            if value is None:
                continue
            if isinstance(value, Reply):
                return value
            arguments[chained] = value
        return arguments[chained]

    async def veto(self, hook: str, **arguments: Any) -> tuple[str, Refusal] | None:
        """All are asked; the first refusal wins. Fails closed."""
        return await self.first(hook, **arguments)

    async def gather(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """(plugin, value) of all that answered; one that fails is logged and missing."""
        return _there(hook, await self.each(hook, **arguments))

    async def gather_at_once(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """The same, all asked at one time: together they take as long as the slowest, one deadline at most."""
        asked = (self._answer(found, arguments) for found in self._implementations(hook))
        return _there(hook, await asyncio.gather(*asked))

    async def each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """(plugin, its answer or the ProuterError that it failed with) of all, None included."""
        return [await self._answer(found, arguments) for found in self._implementations(hook)]

    async def setup(self, hook: str, bundle: Callable[[str], Mapping[str, Any]]) -> None:
        """At a start, in the order of loading, each with arguments of its own.

        Raises StartupError naming who failed, ConfigError.
        """
        ends = {found.plugin: found for found in self._implementations(SHUTDOWN)}
        for found in self._implementations(hook):
            try:
                await self._ask(found, bundle(found.plugin))
            except (ConfigError, StartupError):
                raise
            except ProuterError as error:
                raise StartupError(f"the plugin {found.plugin!r} failed to start: {error.detail}") from error
            self._started.append((found.plugin, ends.get(found.plugin)))

    def notify(self, hook: str, *, subject: str, **arguments: Any) -> None:
        """Tell all observers, later and in order; they can neither fail nor delay the caller."""
        for found in self._implementations(hook):
            observer = self._observers.get(found.plugin)
            if observer is None:
                missed = next((other for other in self._implementations(MISSED) if other.plugin == found.plugin), None)
                observer = Observer(found.plugin, self._limits, missed, self._host.count_failure)
                self._observers[found.plugin] = observer
            if observer.tell(found, arguments):
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
        while self._started:
            await self._shut_down(*self._started.pop())

    async def _shut_down(self, plugin: str, end: Implementation | None) -> None:
        if end is not None:
            try:
                await self._ask(end, {})
            except ProuterError as error:
                log.error("plugin %s did not shut down: %s", plugin, error.detail)

    async def _answer(self, found: Implementation, arguments: Mapping[str, Any]) -> tuple[str, Any]:
        try:
            return found.plugin, await self._ask(found, arguments)
        except ProuterError as error:
            self._host.count_failure(found.plugin)
            if not isinstance(error, PluginFailure):
                found.count.failures += 1
            return found.plugin, error

    async def _ask(self, found: Implementation, arguments: Mapping[str, Any]) -> Any:
        value = found.ask(arguments)
        return await value.finish() if type(value) is Pending else value

    async def _ask_recorded(self, told: Trail, found: Implementation, arguments: Mapping[str, Any]) -> Any:
        """The same, in a context where somebody wants to know; elsewhere nothing of this is built."""
        begun = time.perf_counter()
        try:
            value = await self._ask(found, arguments)
        except ProuterError as error:
            told.failed(found.hook, found.plugin, arguments, error.detail, time.perf_counter() - begun)
            raise
        seconds = time.perf_counter() - begun
        told.answered(found.hook, found.plugin, arguments, self._spec(found.hook, "prouter_chained"), value, seconds)
        return value

    def _implementations(self, hook: str) -> tuple[Implementation, ...]:
        """In the order in which they are asked."""
        if self._generation != self._host.generation:
            self._cache.clear()
            self._chosen.clear()
            self._generation = self._host.generation
        found = self._cache.get(hook)
        return self._made(hook) if found is None else found

    def _named(self, hook: str, names: Sequence[str]) -> tuple[Implementation, ...]:
        """Those of these plugins, in the order of the names."""
        everybody = self._implementations(hook)
        known = self._chosen.get(hook)
        if known is not None and known[0] is names:
            return known[1]
        chosen = tuple(found for name in names for found in everybody if found.plugin == name)
        self._chosen[hook] = (names, chosen)
        return chosen

    def _made(self, hook: str) -> tuple[Implementation, ...]:
        result = result_of(self._function(hook))
        answer_fits, answer = fits(result), words(result)
        deadline = self._limits.deadlines.get(hook, self._spec(hook, "prouter_deadline"))
        blocked = math.inf if hook == STARTUP else self._limits.blocked_seconds  # at a start nobody is held up
        made = []
        for found in self._host.implementations(hook):
            count = self._counts.setdefault((found.plugin_name, hook), HookCount(found.plugin_name, hook))
            made.append(
                Implementation(
                    found.function,
                    found.argnames,
                    count,
                    deadline_seconds=deadline,
                    blocked_seconds=blocked,
                    fits=answer_fits,
                    answer=answer,
                )
            )
        self._cache[hook] = tuple(made)
        return self._cache[hook]

    def _collected(self, found: Implementation, arguments: Mapping[str, Any]) -> Any:
        """A sequence's members are read here, where a plugin that hands over something else is still left out."""
        value = found.call(arguments)
        if value is not None and inspect.isawaitable(value):
            _discard(value)
            raise TypeError(f"{found.hook} must be a plain function")
        if value is not None and get_origin(result_of(self._function(found.hook))) is Sequence:
            value = list(value)
        if value is not None and not found.fits(value):
            raise TypeError(found.instead(value))
        return value

    def _spec(self, hook: str, attribute: str) -> Any:
        return getattr(self._function(hook), attribute)

    def _function(self, hook: str) -> Any:
        return getattr(self._host.manager.hook, hook).spec.function


def _there(hook: str, answers: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    for plugin, value in answers:
        if isinstance(value, ProuterError):
            log.warning("%s of plugin %s is missing: %s", hook, plugin, value.detail)
    return [answer for answer in answers if answer[1] is not None and not isinstance(answer[1], ProuterError)]


def _discard(value: Any) -> None:
    close = getattr(value, "close", None)
    if close is not None:
        close()

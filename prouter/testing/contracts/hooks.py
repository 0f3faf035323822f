"""A plugin's implementations of one hook, found as prouter finds them, and asked one by one with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from prouter import agent_hookspecs, hookspecs
from prouter.errors import PluginFailure, ProuterError, StartupError
from prouter.pluginkit.discovery import Found, Switches
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.inspecting import Specs, fits
from prouter.testing.contracts.watching import ANSWER_SECONDS, Outcome, answer_of, broken, survives_cancellation

OF_ROUTER = Specs("router", hookspecs, "agent", agent_hookspecs)
OF_AGENT = Specs("agent", agent_hookspecs, "router", hookspecs)


class Hosted:
    """A plugin in a host of its own, of a router or of an agent, as its hooks are. Raises ContractBroken when none
    takes it."""

    def __init__(self, plugin: Any) -> None:
        kind = plugin if isinstance(plugin, type) else type(plugin)
        self.name = kind.__name__
        self.specs: ModuleType = agent_hookspecs if fits(plugin, OF_AGENT) > fits(plugin, OF_ROUTER) else hookspecs
        self._host = PluginHost(self.specs)
        try:
            found = Found(self.name, kind.__module__, "", lambda: plugin)
            self._host.load([found], Switches(required=frozenset([self.name])))
        except StartupError as error:
            broken(self.name, f"it can not be loaded: {error.detail}")

    def implemented(self) -> list[str]:
        """Names of hooks, in the order of their specifications."""
        return [name for name in vars(self.specs) if name.startswith("prouter_") and self._functions(name)]

    def need(self, hook: str) -> None:
        """Raises ContractBroken when the hook is not implemented."""
        if not self._functions(hook):
            broken(self.name, f"it does not implement {hook}")

    def ask(self, hook: str, **arguments: Any) -> Callable[[], Any]:
        """Calls the implementation once, whenever that is called."""
        (function, names), *_ = self._functions(hook)
        return partial(function, *[arguments[name] for name in names])

    def who(self, hook: str) -> str:
        return f"{self.name}.{hook}"

    async def answer(self, hook: str, **arguments: Any) -> Any:
        """Its answer. Raises ContractBroken when it raises, is late, or holds the loop."""
        return self._value(hook, await self.outcome(hook, **arguments), arguments)

    def _value(self, hook: str, outcome: Outcome, arguments: Mapping[str, Any]) -> Any:
        if outcome.error is not None:
            shown = ", ".join(f"{name}={str(value)[:300]}" for name, value in arguments.items())
            kind = type(outcome.error).__name__
            broken(self.who(hook), f"it raised {kind}: {outcome.error}; it was asked with {shown}")
        return outcome.value

    async def answer_or_error(self, hook: str, **arguments: Any) -> Any:
        """The same, where an error of prouter.errors is as good: it is deliberate, and the request or job has it."""
        outcome = await self.outcome(hook, **arguments)
        if isinstance(outcome.error, ProuterError) and not isinstance(outcome.error, PluginFailure):
            return outcome.error
        return self._value(hook, outcome, arguments)

    async def outcome(self, hook: str, **arguments: Any) -> Outcome:
        """The same, where an error may be an answer."""
        seconds = min(getattr(self.specs, hook).prouter_deadline, ANSWER_SECONDS)
        return await answer_of(self.who(hook), self.ask(hook, **arguments), seconds)

    async def survives_cancellation(self, hook: str, **arguments: Any) -> None:
        """Raises ContractBroken."""
        await survives_cancellation(self.who(hook), self.ask(hook, **arguments))

    def _functions(self, hook: str) -> list[tuple[Callable[..., Any], tuple[str, ...]]]:
        caller = getattr(self._host.manager.hook, hook, None)
        return [] if caller is None else [(found.function, found.argnames) for found in caller.get_hookimpls()]


class Answers:
    """How many of the kit's questions were answered: a plugin for which nothing is there was not looked at."""

    def __init__(self, who: str, how: str = "given={...}") -> None:
        self._who = who
        self._how = how
        self._answered = 0
        self._last: ProuterError | None = None

    def note(self, answer: Any) -> None:
        if isinstance(answer, ProuterError):
            self._last = answer
        else:
            self._answered += 1

    def check(self) -> None:
        """Raises ContractBroken when none was."""
        if not self._answered and self._last is not None:
            why = f"each question ended in {type(self._last).__name__}: {self._last.detail}"
            broken(self._who, f"{why}; name a job that is there: {self._how}")

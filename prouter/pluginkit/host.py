"""The plugins of one app: registered with pluggy, validated, each with a state that can be shown.

One that can not be imported, targets another API version or does not validate is named and left out, unless it is
required: then the start fails.
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from types import ModuleType
from typing import Any

import pluggy

from prouter.errors import ConfigError, StartupError
from prouter.model.api_version import API_VERSION, api_misfit
from prouter.model.plugin import Kind
from prouter.pluginkit.discovery import Found, Switches, Unfit, unknown_names
from prouter.pluginkit.ordering import Place, arranged, circle

log = logging.getLogger(__name__)

PROJECT = "prouter"
IMPL = f"{PROJECT}_impl"
"""Where pluggy keeps the options of an implementation."""


@dataclass(slots=True)
class PluginState:
    """What is known of one plugin. `state` is "loaded", "disabled" or "failed"."""

    name: str
    distribution: str
    version: str
    state: str
    why: str = ""
    hooks: list[str] = field(default_factory=list)
    failures: int = 0


class PluginHost:
    """Plugins of one app, in the order of their loading; later ones are asked first, as pluggy does."""

    def __init__(self, specs: ModuleType) -> None:
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(specs)
        self._states: dict[str, PluginState] = {}
        self._required: frozenset[str] = frozenset()
        self._strict = False
        self._forgiving = False
        self.generation = 0
        """Grows when a plugin comes or goes, so that callers can cache."""

    def load(self, found: Sequence[Found], switches: Switches) -> None:
        """Import and register all that are not switched off.

        Raises StartupError for one that fails and without which there is no start: it is required, all are (strict),
        or it is known to decide who may what.
        """
        self._required, self._strict, self._forgiving = switches.required, switches.strict, switches.forgiving
        for name in unknown_names(found, switches.required):
            raise StartupError(f"the plugin {name!r} is required and not installed")
        for name in sorted(switches.required & switches.disabled):
            raise StartupError(f"the plugin {name!r} is required and switched off")
        for name in unknown_names(found, switches.disabled):
            log.warning("plugins.disabled names %r, which is not installed", name)
        for plugin in found:
            if plugin.name in switches.disabled:
                self._set(plugin, "disabled", "switched off by the configuration")
            else:
                self._load_one(plugin)
        self._leave_out_circles()

    def require(self, names: Collection[str], *, by_default: bool = False) -> None:
        """These must be there (`check_there`), and are required from now on. Raises StartupError."""
        self.check_there(names, by_default=by_default)
        self._required |= set(names)

    def check_there(self, names: Collection[str], *, by_default: bool = False) -> None:
        """These must have loaded. Where nobody named them (`by_default`) they may be switched off, whoever's they are.

        Raises StartupError.
        """
        for name in names:
            state = self._states.get(name)
            if state is None:
                raise StartupError(f"access.authenticators names the plugin {name!r}, which is not installed")
            if state.state == "failed" or (state.state == "disabled" and not by_default):
                raise StartupError(f"the authenticator {name!r} is {state.state}: {state.why}")

    def disable(self, name: str, why: str) -> None:
        """A plugin broke while it was loaded: it is left out as a whole.

        Raises StartupError as `load` does; then nothing of it is gone, should a daemon that runs already go on.
        """
        state, plugin = self._states[name], self.manager.get_plugin(name)
        self._end_start(name, why, self._doors(plugin))
        state.state, state.why, state.hooks = "failed", why, []
        if plugin is not None:
            self.manager.unregister(plugin)
        self.generation += 1
        log.error("plugin %s is left out: %s", name, why)

    def hooks(self) -> list[str]:
        """All that there are."""
        return [name for name, caller in vars(self.manager.hook).items() if getattr(caller, "spec", None) is not None]

    def implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """In the order in which they are asked: what they say of their place, else the last loaded first.

        At a start (collect, setup) the first loaded is first.
        """
        found, places = self._places(hook)
        return [found[index] for index in arranged(places)]

    def count_failure(self, name: str) -> int:
        """Of an observer; how many there were."""
        state = self._states.get(name)
        if state is None:
            return 0
        state.failures += 1
        return state.failures

    def loaded(self) -> Collection[str]:
        return [state.name for state in self._states.values() if state.state == "loaded"]

    def origin(self, name: str) -> str:
        """A plugin and where it comes from, for people."""
        state = self._states[name]
        return f"{name!r} ({' '.join(filter(None, (state.distribution, state.version)))})"

    def describe(self) -> Sequence[Mapping[str, Any]]:
        """For /info and /plugins."""
        return [
            {
                "name": state.name,
                "distribution": state.distribution,
                "version": state.version,
                "state": state.state,
                "why": state.why,
                "failures": state.failures,
                "hooks": [f"{name} ({self._kind(name)})" for name in state.hooks],
            }
            for state in self._states.values()
        ]

    def missing(self) -> str:
        """For a 404: which plugins are not there, so that a person knows why."""
        absent = [f"{state.name} ({state.state})" for state in self._states.values() if state.state != "loaded"]
        return f"; plugins that are not loaded: {', '.join(absent)}" if absent else ""

    def _places(self, hook: str) -> tuple[list[pluggy.HookImpl], list[Place]]:
        found: list[pluggy.HookImpl] = getattr(self.manager.hook, hook).get_hookimpls()
        if self._kind(hook) not in (Kind.COLLECT, Kind.SETUP):
            found = found[::-1]
        places = [
            Place(
                implementation.plugin_name,
                getattr(implementation.function, "prouter_before", ()),
                getattr(implementation.function, "prouter_after", ()),
                implementation.trylast - implementation.tryfirst,
            )
            for implementation in found
        ]
        return found, places

    def _leave_out_circles(self) -> None:
        """Nobody can ask plugins in the order that they want when each wants to be before the other."""
        for hook in self.hooks():
            while names := circle(self._places(hook)[1]):
                for name in names:
                    self.disable(name, f"{hook}: {', '.join(names)} want to be asked before each other")

    def _kind(self, hook: str) -> str:
        spec = getattr(self.manager.hook, hook).spec
        return str(getattr(spec.function, "prouter_kind", Kind.COLLECT)) if spec else ""

    def _load_one(self, plugin: Found) -> None:
        instance: Any = None
        try:
            instance = loaded = plugin.load()
            instance = loaded() if inspect.isclass(loaded) else loaded
            misfit = api_misfit(getattr(instance, "prouter_api_version", API_VERSION))
            if misfit:
                raise Unfit(misfit)
            self._register(instance, plugin.name)
        except ConfigError:
            raise
        except BaseException as error:  # noqa: BLE001 -- foreign code may fail in every way
            self._failed(plugin, error, self._doors(instance))
            return
        hooks = [caller.name for caller in self.manager.get_hookcallers(instance) or ()]
        self._set(plugin, "loaded", "")
        self._states[plugin.name].hooks = sorted(hooks)
        self.generation += 1

    def _register(self, instance: Any, name: str) -> None:
        self.manager.register(instance, name)
        try:
            for caller in self.manager.get_hookcallers(instance) or ():
                if caller.spec is None:
                    raise Unfit(f"there is no hook {caller.name}{_meant(caller.name, self.hooks())}")
                for implementation in caller.get_hookimpls():
                    if implementation.plugin is instance and (implementation.wrapper or implementation.hookwrapper):
                        raise Unfit(f"{caller.name} is a pluggy wrapper, which hooks here can not be")
            if not self.manager.get_hookcallers(instance):
                raise Unfit("it implements no hook (is `@hookimpl` missing?)")
        except Unfit:
            self.manager.unregister(instance)
            raise

    def _failed(self, plugin: Found, error: BaseException, doors: Sequence[str]) -> None:
        if self.manager.has_plugin(plugin.name):
            self.manager.unregister(name=plugin.name)
        kind = "" if isinstance(error, Unfit) else f"{type(error).__name__}: "
        why = " ".join(f"{kind}{error}".split())[:500]
        if isinstance(error, pluggy.PluginValidationError):
            why += "; `prouter plugins check` says what may have been meant"
        self._set(plugin, "failed", why)
        self._end_start(plugin.name, why, doors)
        log.error("plugin %s (%s) can not be loaded and is left out: %s", plugin.name, plugin.distribution, why)

    def _end_start(self, name: str, why: str, doors: Sequence[str]) -> None:
        """Raises StartupError where it is worse to start without this plugin than not to start."""
        if self._forgiving:
            return
        if name in self._required:
            raise StartupError(f"the plugin {name!r} is required and failed: {why}")
        if self._strict:
            raise StartupError(f"the plugin {name!r} failed, and plugins.strict allows none to be left out: {why}")
        if doors:
            raise StartupError(
                f"the plugin {name!r} failed, and without it more would be allowed (it implements {', '.join(doors)}); "
                f"mend it, or start with --no-plugin {name}: {why}"
            )

    def _doors(self, plugin: Any) -> list[str]:
        """The hooks by which it refuses, or would had their names been right: left out, it would leave doors open."""
        marked = ((name, getattr(getattr_static(plugin, name, None), IMPL, None)) for name in dir(plugin))
        names = {str(options.get("specname") or name) for name, options in marked if isinstance(options, dict)}
        hooks = self.hooks()
        meant = {name: name if name in hooks else _nearest(name, hooks) for name in names}
        return sorted(name for name in names if meant[name] and self._kind(meant[name]) == Kind.VETO)

    def _set(self, plugin: Found, state: str, why: str) -> None:
        self._states[plugin.name] = PluginState(plugin.name, plugin.distribution, plugin.version, state, why)


def _meant(name: str, hooks: Sequence[str]) -> str:
    close = _nearest(name, hooks)
    return f"; did you mean {close}?" if close else ""


def _nearest(name: str, hooks: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(name, hooks, 1, 0.6)), "")

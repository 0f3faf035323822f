"""Finding plugins: entry points and `plugins.load`. Switches are applied before foreign code is imported.

A foreign name beats a built-in's; of two foreign ones neither is loaded, with a reason that names both distributions.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importlib_metadata import Distribution, entry_points

BUILT_IN = "prouter"
"""The distribution whose plugins ship with prouter."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that is there, not imported yet."""

    name: str
    distribution: str
    """The distribution's name, or the module or file of `plugins.load`."""
    version: str
    load: Callable[[], Any]
    """Imports it; gives a class, an instance or a module."""

    @property
    def built_in(self) -> bool:
        return self.distribution == BUILT_IN


@dataclass(frozen=True, slots=True)
class Switches:
    """What the configuration and the command line say about plugins as such."""

    load: Sequence[str] = ()
    disabled: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    strict: bool = False
    """A plugin that is left out ends the start, whichever it is."""
    safe: bool = False
    """Nothing but what ships."""
    forgiving: bool = False
    """For who only looks: whatever is wrong with a plugin ends nothing."""

    @classmethod
    def read(cls, plugins: Mapping[str, Any], no_plugin: Iterable[str] = (), *, safe: bool = False) -> Switches:
        return cls(
            load=tuple(plugins.get("load") or ()),
            disabled=frozenset(plugins.get("disabled") or ()) | frozenset(no_plugin),
            required=frozenset(plugins.get("required") or ()),
            strict=bool(plugins.get("strict")),
            safe=safe,
        )


def find(group: str, switches: Switches, given: Sequence[Found] = ()) -> list[Found]:
    """All plugins of an entry-point group and of `plugins.load`, the disabled ones too (never imported).

    `given` ones take the place of others of their name. In the order in which they are loaded: those that ship first,
    then the others, each sorted by name. Of two foreign ones with one name neither can be loaded.
    """
    chosen, _ = choose(candidates(group, switches))
    by_name = {plugin.name: plugin for plugin in chosen} | {plugin.name: plugin for plugin in given}
    return sorted(by_name.values(), key=lambda plugin: (not plugin.built_in, plugin.name))


def candidates(group: str, switches: Switches) -> list[Found]:
    """All that is there, those of one name too."""
    points = entry_points(group=group)
    known = {source: _name_and_version(source) for source in {point.dist for point in points}}  # it reads a file
    found = [Found(point.name, *known[point.dist], point.load) for point in points]
    if switches.safe:
        return [plugin for plugin in found if plugin.built_in]
    return found + [from_text(text) for text in switches.load]


def choose(found: Iterable[Found]) -> tuple[list[Found], list[str]]:
    """One of each name, and a sentence for each foreign one that has the name of another.

    Which of these is meant nobody knows: the one in their place can not be loaded, and says why.
    """
    by_name: dict[str, Found] = {}
    doubles = []
    for plugin in found:
        other = by_name.get(plugin.name)
        if other is None or (other.built_in and not plugin.built_in):
            by_name[plugin.name] = plugin
        elif not plugin.built_in and not other.built_in and _source(plugin) != _source(other):
            why = f"{plugin.name!r} comes from {other.distribution} and from {plugin.distribution}; remove one"
            doubles.append(why)
            by_name[plugin.name] = _neither(other, plugin, why)
    return [by_name[name] for name in sorted(by_name)], doubles


def unknown_names(found: Collection[Found], names: Iterable[str]) -> list[str]:
    """Names of switches that stand for no plugin."""
    known = {plugin.name for plugin in found}
    return sorted(name for name in names if name not in known)


class Unfit(Exception):
    """Why a plugin can not be used, in our own words. Never leaves this room: the host keeps the reason."""


def _neither(one: Found, other: Found, why: str) -> Found:
    def load() -> Any:
        raise Unfit(why)

    return Found(one.name, f"{one.distribution}, {other.distribution}", "", load)


def _source(plugin: Found) -> tuple[str, str]:
    return plugin.distribution, plugin.version


def _name_and_version(distribution: Distribution | None) -> tuple[str, str]:
    return ("unknown", "") if distribution is None else (distribution.name, distribution.version)


def from_text(text: str) -> Found:
    """`package.module`, `package.module:Name`, or a path to a file (which may be followed by `:Name`)."""
    place, _, attribute = text.partition(":") if ":" in text and not Path(text).exists() else (text, "", "")
    if place.endswith(".py") or "/" in place:
        path = Path(place).expanduser()
        return Found(attribute or path.stem, place, "", lambda: _pick(_import_file(path), attribute))
    name = attribute or place.rpartition(".")[2]
    return Found(name, place, "", lambda: _pick(importlib.import_module(place), attribute))


def _import_file(path: Path) -> Any:
    if not path.is_file():
        there = "a directory: name a file in it" if path.is_dir() else "not there"
        raise FileNotFoundError(f"{path} is {there}")
    spec = importlib.util.spec_from_file_location(f"prouter_loaded_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pick(module: Any, attribute: str) -> Any:
    """The named attribute; else the one class of the module that has hook implementations, else the module."""
    if attribute:
        return getattr(module, attribute)
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and any(hasattr(member, "prouter_impl") for member in vars(value).values())
    ]
    return classes[0] if len(classes) == 1 else module

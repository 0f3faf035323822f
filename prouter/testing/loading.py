"""Plugins that a test has in its hands, as a daemon's loader takes them: the same for one in this process and others.

Belongs here: names, and the way from a class to something that can be loaded. Does not: loading (pluginkit/).
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from importlib_metadata import entry_points

from prouter.pluginkit.discovery import Found, from_text
from prouter.testing.wanted import Given, Plugins, given

SOURCE = """\
# Gives a plugin of a test to a daemon.
import importlib, importlib.util, sys

sys.path += [place for place in {path!r} if place not in sys.path]
try:
    module = importlib.import_module({module!r})
except ImportError:
    spec = importlib.util.spec_from_file_location({module!r}, {file!r})
    module = importlib.util.module_from_spec(spec)
    sys.modules[{module!r}] = module
    spec.loader.exec_module(module)
globals()[{name!r}] = getattr(module, {attribute!r})
"""


def found_here(plugins: Plugins, group: str) -> list[Found]:
    """For a daemon in this process. `group` is that of its entry points."""
    return [_found(one, group) for one in given(plugins)]


def settings_for_process(plugins: Plugins, group: str, place: Path) -> list[str]:
    """Settings by which a daemon of its own loads them; classes go through files in `place`.

    Raises TypeError for an instance, which can not go to another process.
    """
    texts, names = [], []
    for number, one in enumerate(given(plugins)):
        name = _name(one, group)
        if _installed(one, group) == name:
            pass  # the daemon finds it by itself; twice it would be two plugins of one name
        elif _is_text(one) and not one.name:
            texts.append(os.fspath(one.plugin))
        else:
            texts.append(f"{_written(one, name, place / f'given_{number}.py')}:{name}")
        names.append(name)
    return [f"plugins.load={texts!r}", f"plugins.required={names!r}"] if names else []


def refuse_lists_of_plugins(settings: Sequence[str]) -> None:
    """Of two lists the last would win. Raises TypeError."""
    for setting in settings:
        if setting.partition("=")[0].strip() in ("plugins.load", "plugins.required"):
            raise TypeError(f"{setting.partition('=')[0]} stands beside plugins that were given; use one of them")


def _found(one: Given, group: str) -> Found:
    if _is_text(one):
        return replace(from_text(os.fspath(one.plugin)), name=_name(one, group))
    return Found(_name(one, group), _kind(one.plugin).__module__, "", lambda: one.plugin)


def _name(one: Given, group: str) -> str:
    """What was given, else that of the entry point where it is installed, else that of the class, module or file."""
    own = from_text(os.fspath(one.plugin)).name if _is_text(one) else _kind(one.plugin).__name__
    return one.name or _installed(one, group) or own


def _installed(one: Given, group: str) -> str:
    """The name of its entry point; empty when it has none."""
    kind = _kind(one.plugin)
    place = os.fspath(one.plugin) if _is_text(one) else f"{kind.__module__}:{kind.__qualname__}"
    return next((point.name for point in entry_points(group=group) if point.value == place), "")


def _is_text(one: Given) -> bool:
    return isinstance(one.plugin, str | os.PathLike)


def _kind(plugin: Any) -> type[Any]:
    return plugin if inspect.isclass(plugin) else type(plugin)


def _written(one: Given, name: str, file: Path) -> Path:
    if _is_text(one):
        raise TypeError("a plugin that is given as a text has the name of its module or file in a process")
    plugin: Any = one.plugin
    if not inspect.isclass(plugin):
        raise TypeError(f"{plugin!r} can not go to another process: give its class")
    if plugin.__qualname__ != plugin.__name__:
        raise TypeError(f"{plugin.__qualname__} is within something else: another process can not import it")
    file.parent.mkdir(parents=True, exist_ok=True)
    text = SOURCE.format(
        path=sys.path,
        module=plugin.__module__,
        file=inspect.getfile(plugin),
        name=name,
        attribute=plugin.__name__,
    )
    file.write_text(text)
    return file

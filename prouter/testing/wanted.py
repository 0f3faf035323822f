"""What a test wants of its router and agent: from the mark `prouter` and the fixture `prouter_setup`. Plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PluginLike = Any
"""A class, an instance, "module:Name", or the path of a file."""
Plugins = Sequence[PluginLike] | Mapping[str, PluginLike]
"""Plugins, or plugins by the name under which they are loaded."""


@dataclass(frozen=True, slots=True)
class Given:
    """A plugin for a test; `name` is empty where none was given."""

    plugin: PluginLike
    name: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """Plugins and settings for the router and its agent. Settings are as for `--set`: "server.port=9000".

    A class that is not named is loaded under the name of its entry point where it is installed, else under its own.
    All given plugins are required: one that can not be loaded fails the test.
    """

    plugins: Plugins = ()
    settings: Sequence[str] = ()
    agent_plugins: Plugins = ()
    agent_settings: Sequence[str] = ()
    token: str | None = None
    """What a client sends as X-Prouter-Token, where the router wants one."""
    processes: bool = False
    """Real processes instead of the test's own."""

    def and_also(self, **more: Any) -> Setup:
        """With more of it: plugins and settings add up, the rest is replaced. Raises TypeError for an unknown word."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        for name, value in more.items():
            if name not in fields:
                raise TypeError(f"a setup has no {name!r}; it has: {', '.join(fields)}")
            fields[name] = _together(name, fields[name], value)
        return Setup(**fields)

    @classmethod
    def of_marks(cls, begin: Setup, marks: Iterable[Mapping[str, Any]]) -> Setup:
        """`begin` and what each mark adds, the outermost first."""
        for words in marks:
            begin = begin.and_also(**words)
        return begin


def given(plugins: Plugins) -> list[Given]:
    """In the order in which they were given."""
    if isinstance(plugins, str):
        raise TypeError("plugins are a list of plugins, or plugins by name, not one text")
    if isinstance(plugins, Mapping):
        return [Given(plugin, name) for name, plugin in plugins.items()]
    return [plugin if isinstance(plugin, Given) else Given(plugin) for plugin in plugins]


def _together(name: str, old: Any, new: Any) -> Any:
    if name.endswith("plugins"):
        return [*given(old), *given(new)]
    if name.endswith("settings"):
        if isinstance(new, str):
            raise TypeError(f"{name} is a list of texts, not one text")
        return [*old, *new]
    return new

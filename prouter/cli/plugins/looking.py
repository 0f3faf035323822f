"""Plugins as they are there, loaded and not started: what all commands about plugins begin with.

Nothing ends here because of a plugin: one that is broken, required or not, is part of what is looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prouter.cli import options
from prouter.errors import ConfigError
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.config import Sources
from prouter.pluginkit.describe import contributions, plugin_facts
from prouter.pluginkit.discovery import Found, Switches, candidates, choose
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.schema import Schema, plugin_owner

KINDS = ("router", "agent")


@dataclass(frozen=True, slots=True)
class Side:
    """The plugins of a router or of an agent, as these switches have them."""

    kind: options.Kind
    sources: Sources
    switches: Switches
    found: Sequence[Found]
    """All that is there, those of one name too."""
    host: PluginHost
    hooks: Hooks
    schema: Schema
    doubles: Sequence[str]
    """A sentence for each that has the name of another."""

    def facts(self) -> list[dict[str, Any]]:
        """Of each plugin, with `side`."""
        contributed = {name: contributions(self.host, name) for name in self.host.loaded()}
        return [{**facts, "side": self.kind.name} for facts in plugin_facts(self.host, self.schema, contributed)]


def make_parser(command: str, description: str) -> argparse.ArgumentParser:
    """With the switches of a daemon, and those that choose the side."""
    parser = argparse.ArgumentParser(
        prog=f"prouter plugins {command}",
        description=description,
        epilog="--config and --set are those of the router, with --agent those of the agent; the environment "
        "counts for both (PROUTER_..., PAGENT_...).",
        allow_abbrev=False,
    )
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--router", action="store_true", help="the router's side only")
    side.add_argument("--agent", action="store_true", help="the agent's side only")
    options.add_switches(parser)
    return parser


def sides(given: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> list[Side]:
    """Those that are asked for. Raises ConfigError for sources that can not be read."""
    if given.agent:
        return [look(kind_named("agent"), given, environ)]
    of_router = look(kind_named("router"), given, environ)
    if given.router:
        return [of_router]
    others = argparse.Namespace(config=None, set=[], no_plugin=given.no_plugin, safe=given.safe)
    return [of_router, look(kind_named("agent"), others, environ)]


def kind_named(name: str) -> options.Kind:
    kind: options.Kind = importlib.import_module(f"prouter.cli.{name}").KIND
    return kind


def look(
    kind: options.Kind,
    given: argparse.Namespace,
    environ: Mapping[str, str],
    change: Callable[[Sequence[Found]], Sequence[Found]] = lambda found: found,
) -> Side:
    """Load all plugins of one side. `change` may put others in the place of those that are there.

    Raises ConfigError for sources that can not be read.
    """
    sources = Sources(given.config, environ, kind.prefix, given.set)
    switches = options.switches(sources, given)
    host = PluginHost(kind.specs)
    with quietly():
        found = change(candidates(kind.group, switches))
        chosen, doubles = choose(found)
        host.load(chosen, replace(switches, required=frozenset(), forgiving=True))
        hooks = Hooks(host)
        schema = options.own_schema(kind)
        for plugin, sections in hooks.collect("prouter_config_sections"):
            try:
                schema.add(plugin_owner(plugin), sections)
            except (ValueError, ConfigError) as error:
                host.disable(plugin, f"prouter_config_sections: {error}")
    return Side(kind, sources, switches, found, host, hooks, schema, doubles)


def plain(line: str) -> str:
    """As it can be printed anywhere: what plugins say of themselves may be anything."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in line)


def switched_off(kind: options.Kind, given: argparse.Namespace) -> frozenset[str]:
    """Names of plugins that are not even imported. Raises ConfigError."""
    return options.switches(Sources(given.config, os.environ, kind.prefix, given.set), given).disabled


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What plugins print goes to stderr, where it spoils no JSON; what the loader logs, the command says itself."""
    with options.silence(), contextlib.redirect_stdout(sys.stderr):
        yield

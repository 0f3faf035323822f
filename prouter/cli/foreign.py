"""`prouter NAME` for a name that is no command of prouter's own: the plugins are asked. What ships never comes here.

Belongs here: finding the command, its parser, what it finds around it, how its failure is told. Does not: how plugins
are loaded without starting them (plugins/looking.py).
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prouter.cli import asking, options
from prouter.cli.main import COMMANDS
from prouter.cli.plugins import looking
from prouter.errors import ConfigError, ProuterError
from prouter.model.contributions import CliCommand
from prouter.model.services import Config
from prouter.pluginkit.calling import Hooks

DEBUG = "PROUTER_DEBUG"
"""Set in the environment: a command that fails shows where."""


@dataclass(frozen=True, slots=True)
class Context:
    """Implements model.contributions.CliContext."""

    url: str
    token: str | None = field(repr=False)
    read: Callable[[], Config] = field(repr=False)
    """The configuration, read and checked when it is asked for. Raises ConfigError."""

    def section(self, name: str) -> Mapping[str, Any]:
        return self.read().section(name)


def run(name: str, words: Sequence[str]) -> int:
    """Exit status: that of the command; 1 when it fails, 2 when there is no such command or two plugins claim it."""
    switches = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_switches(switches)
    try:
        side = looking.look(looking.kind_named("router"), switches.parse_known_args(words)[0], os.environ)
    except ConfigError as error:
        return _wrong(error)
    with looking.quietly():
        claims = commands(side.hooks)
    found = [(plugin, command) for plugin, command in claims if command.name == name]
    if not found:
        known = ", ".join([*COMMANDS, *sorted({command.name for _, command in claims})])
        print(f"prouter: there is no command {name!r}; there are: {known}{side.host.missing()}", file=sys.stderr)
        return 2
    if len(found) > 1:
        owners = " and ".join(plugin for plugin, _ in found)
        print(f"prouter: the command {name!r} is claimed by {owners}; switch one off by --no-plugin", file=sys.stderr)
        return 2
    plugin, command = found[0]
    try:
        return _run(command, words, lambda: side.sources.load(side.schema))
    except ConfigError as error:
        return _wrong(error)
    except ProuterError as error:
        print(f"prouter: {error.detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 -- foreign code may fail in every way
        if os.environ.get(DEBUG):
            traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        where = "" if os.environ.get(DEBUG) else f"; {DEBUG}=1 shows where"
        print(f"prouter: the command {name!r} of the plugin {plugin!r} failed: {what}{where}", file=sys.stderr)
        return 1


def commands(hooks: Hooks) -> list[tuple[str, CliCommand]]:
    """Those of all plugins, but such as can not be reached because prouter has one of that name."""
    claims = hooks.collect("prouter_commands")
    return [(plugin, one) for plugin, theirs in claims for one in theirs if one.name not in COMMANDS]


def _run(command: CliCommand, words: Sequence[str], read: Callable[[], Config]) -> int:
    parser = asking.make_parser(command.name, command.summary)
    options.add_switches(parser)
    command.configure(parser)
    given = parser.parse_args(words)
    status = command.run(given, Context(given.url, asking.token(given.token_file), read))
    if not isinstance(status, int):
        raise TypeError(f"it gave {type(status).__name__} instead of an exit status")
    return status


def _wrong(error: ConfigError) -> int:
    print("\n".join(f"prouter: {mistake}" for mistake in error.mistakes), file=sys.stderr)
    return 2

"""The flags that every daemon has, and what they mean together: sources, plugins, settings."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from prouter import __version__
from prouter.cli.main import COMMANDS
from prouter.errors import ConfigError, StartupError
from prouter.model.plugin import ConfigSection
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.config import PLUGIN_PROPERTIES, Settings, Sources
from prouter.pluginkit.describe import config_parameters
from prouter.pluginkit.discovery import Found, Switches, find
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.limits import CallLimits
from prouter.pluginkit.schema import Schema, plugin_owner

LEVELS = ("warning", "debug", "error", "info", "fatal")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of daemon: router or agent."""

    name: str
    description: str
    prefix: str
    """Of its environment variables."""
    group: str
    """Of its plugins' entry points."""
    specs: ModuleType
    sections: Sequence[ConfigSection]
    """The daemon's own."""
    epilog: str | None = None
    """What --help says below the flags."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Plugins and configuration, valid."""

    settings: Settings
    host: PluginHost
    hooks: Hooks
    reread: Callable[[], Settings]
    """The configuration as its sources say now. Raises ConfigError."""


def make_parser(kind: Kind) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prouter" if kind.name == "router" else f"prouter {kind.name}",
        description=kind.description,
        epilog=kind.epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="show this help message and exit")
    add("--version", action="version", version=f"prouter {__version__}")
    add_switches(parser)
    add("--log-level", choices=LEVELS, default="info", help="output log level")
    add("--log-format", choices=("text", "json"), default="text", help="form of the log's lines")
    add(
        "--connection-debug",
        action="store_true",
        help="enable additional debug output for RPC connections",
    )
    add("--ready-file", type=Path, metavar="PATH", help="where to write the endpoints, as JSON, once they listen")
    add("--insecure", action="store_true", help="let others reach the control endpoint without credentials")
    return parser


def add_switches(parser: argparse.ArgumentParser) -> None:
    """Where the configuration comes from, and which plugins count."""
    add = parser.add_argument
    add("--config", type=Path, metavar="CONFIG", help="config file")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SET",
        help="set config parameter, format is 'config_key=value', values are interpreted as python literals, "
        "may appear multiple times",
    )
    add(
        "--no-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="switch a plugin off, may appear multiple times",
    )
    add("--safe", action="store_true", help="load no plugins but those that ship with prouter")


def load(
    kind: Kind,
    options: argparse.Namespace,
    environ: Mapping[str, str] = os.environ,
    given: Sequence[Found] = (),
) -> Loaded:
    """`given` are plugins that somebody in this process has already. Raises ConfigError, StartupError."""
    sources = Sources(options.config, environ, kind.prefix, options.set)
    host, hooks, schema = _plugins(kind, sources, options, given)
    settings = sources.load(schema)
    if kind.name == "router":
        host.require(**_authenticators(settings, schema))

    def reread() -> Settings:
        fresh = Sources(options.config, environ, kind.prefix, options.set).load(schema)
        if kind.name == "router":
            try:
                host.check_there(**_authenticators(fresh, schema))
            except StartupError as error:
                raise ConfigError([error.detail]) from None
        return fresh

    return Loaded(settings, host, hooks, reread)


def _authenticators(settings: Settings, schema: Schema) -> dict[str, Any]:
    """Their names, and whether those are the default's, which switching a plugin off does not contradict."""
    names = settings.section("access")["authenticators"]
    return {"names": names, "by_default": names == schema.defaults()["access"]["authenticators"]}


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged meanwhile: what is wrong is shown in the answer itself, or is not asked about."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def help_text(kind: Kind, parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The flags, and every parameter of the configuration, the plugins' too."""
    with silence():
        try:
            sources = Sources(options.config, os.environ, kind.prefix, options.set)
            _, hooks, schema = _plugins(kind, sources, options)
            commands = _commands(hooks) if kind.name == "router" else ""
        except (ConfigError, StartupError):  # help is needed most where something is wrong: then that of what ships
            built_in = argparse.Namespace(no_plugin=(), safe=True)
            _, _, schema = _plugins(kind, Sources(None, {}, kind.prefix, ()), built_in)
            commands = ""
    environment = f"Each can be set in the environment, too: {kind.prefix}_SECTION__NAME."
    return f"{parser.format_help()}\n{commands}{config_parameters(schema)}\n\n{environment}\n"


def _commands(hooks: Hooks) -> str:
    """Those of plugins, as --help lists them."""
    lines = [
        f"    prouter {command.name} - {' '.join(command.summary.split())} (of the plugin {plugin})"
        for plugin, commands in hooks.collect("prouter_commands")
        for command in commands
        if command.name not in COMMANDS
    ]
    return "\n".join(["Commands of plugins:", "", *sorted(lines), "", ""]) if lines else ""


def own_schema(kind: Kind) -> Schema:
    """What the daemon itself declares."""
    schema = Schema()
    schema.add("prouter", kind.sections)
    schema.add("prouter", [ConfigSection("plugins", PLUGIN_PROPERTIES)])
    return schema


def switches(sources: Sources, options: argparse.Namespace) -> Switches:
    """What the configuration and the command line say about plugins as such. Raises ConfigError."""
    return Switches.read(sources.plugins(), options.no_plugin, safe=options.safe)


def _plugins(
    kind: Kind, sources: Sources, options: argparse.Namespace, given: Sequence[Found] = ()
) -> tuple[PluginHost, Hooks, Schema]:
    chosen = switches(sources, options)
    host = PluginHost(kind.specs)
    host.load(find(kind.group, chosen, given), chosen)
    hooks = Hooks(host, CallLimits.read(sources.plugins()))
    schema = own_schema(kind)
    for plugin, sections in hooks.collect("prouter_config_sections"):
        try:
            schema.add(plugin_owner(plugin), sections)
        except (ValueError, ConfigError) as error:
            host.disable(plugin, f"prouter_config_sections: {error}")
    return host, hooks, schema

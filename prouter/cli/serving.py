"""A daemon from its words: help, the log, plugins and configuration, then the app until it is told to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from prouter.cli import daemon, logs, options


def run(kind: options.Kind, app_module: str, words: Sequence[str]) -> int:
    """`app_module` has the function `build`; it is imported only when the daemon really starts. The exit status."""
    parser = options.make_parser(kind)
    given = parser.parse_args(words)
    if given.help:
        print(options.help_text(kind, parser, given), end="")
        return 0
    logs.set_up(given.log_level, given.log_format)

    def make() -> daemon.App:
        loaded = options.load(kind, given)
        build = cast("Callable[..., daemon.App]", import_module(app_module).build)
        return build(
            loaded.settings,
            loaded.host,
            loaded.hooks,
            loaded.reread,
            ready_file=given.ready_file,
            insecure=given.insecure,
            connection_debug=given.connection_debug,
        )

    return daemon.run(make)

"""`prouter`: the router's daemon."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookspecs
from prouter.cli import daemon, logs, options
from prouter.core.settings import SECTIONS

KIND = options.Kind(
    "router",
    "pRouter - aggregate multiple pAgents.",
    "PROUTER",
    "prouter.plugins",
    hookspecs,
    SECTIONS,
    "Commands: prouter agent (runs jobs on this machine), prouter up (a router and one local agent); each has --help.",
)


def run(words: Sequence[str]) -> int:
    parser = options.make_parser(KIND)
    given = parser.parse_args(words)
    if given.help:
        print(options.help_text(KIND, parser, given), end="")
        return 0
    logs.set_up(given.log_level, given.log_format)

    def make() -> daemon.App:
        loaded = options.load(KIND, given)
        from prouter.core.app import build

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

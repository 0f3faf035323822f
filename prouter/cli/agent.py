"""`prouter agent`: the agent's daemon."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import agent_hookspecs
from prouter.agent.settings import SECTIONS
from prouter.cli import daemon, logs, options

KIND = options.Kind(
    "agent",
    "pAgent - run jobs on this machine for routers that it dials or that dial it.",
    "PAGENT",
    "prouter.agent_plugins",
    agent_hookspecs,
    SECTIONS,
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
        from prouter.agent.app import build

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

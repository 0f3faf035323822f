"""`prouter plugins list`: what is there, in which state; why something is not loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prouter.cli.plugins import looking
from prouter.errors import ConfigError

ABOUT = "The plugins of the router and of the agent, as these switches have them. Nothing is started."
HEADS = ("NAME", "OF THE", "STATE", "DISTRIBUTION", "VERSION", "HOOKS")


def run(words: Sequence[str]) -> int:
    """Exit status: 2 for a configuration that can not be read; a broken plugin is no reason to fail."""
    parser = looking.make_parser("list", ABOUT)
    parser.add_argument("--json", action="store_true", help="print all that is known of each, as JSON")
    given = parser.parse_args(words)
    try:
        with looking.quietly():
            facts = [plugin for side in looking.sides(given) for plugin in side.facts()]
    except ConfigError as error:
        print("\n".join(f"prouter: {mistake}" for mistake in error.mistakes), file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps({"plugins": facts}, indent=2))
        return 0
    print("\n".join(map(looking.plain, _table(facts))))
    return 0


def _table(facts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [HEADS, *(_row(plugin) for plugin in facts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for row, plugin in zip(rows, [None, *facts], strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if plugin is not None and plugin["why"]:
            yield f"    {plugin['why']}"


def _row(plugin: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        plugin["name"],
        plugin["side"],
        plugin["state"],
        plugin["distribution"],
        plugin["version"],
        str(len(plugin["hooks"])),
    )

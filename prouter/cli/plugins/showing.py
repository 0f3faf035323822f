"""`prouter plugins show NAME`: hooks, configuration, what it contributes, where it comes from, why it is not loaded."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prouter.cli.plugins import looking
from prouter.errors import ConfigError
from prouter.model.plugin import Kind

ABOUT = "All that is known of one plugin, on the router's side, the agent's, or both. Nothing is started."


def run(words: Sequence[str]) -> int:
    """Exit status: 1 where there is no plugin of that name, 2 for a configuration that can not be read."""
    parser = looking.make_parser("show", ABOUT)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    given = parser.parse_args(words)
    try:
        with looking.quietly():
            facts = [plugin for side in looking.sides(given) for plugin in side.facts()]
    except ConfigError as error:
        print("\n".join(f"prouter: {mistake}" for mistake in error.mistakes), file=sys.stderr)
        return 2
    found = [plugin for plugin in facts if plugin["name"] == given.name]
    if not found:
        close = difflib.get_close_matches(given.name, [plugin["name"] for plugin in facts], 3)
        hint = f"did you mean {' or '.join(close)}?" if close else "`prouter plugins list` has those that there are"
        print(f"prouter: there is no plugin {given.name!r}; {hint}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps({"plugins": found}, indent=2))
    else:
        print("\n\n".join("\n".join(map(looking.plain, _page(plugin))) for plugin in found))
    return 0


def _page(plugin: Mapping[str, Any]) -> Iterator[str]:
    yield f"{plugin['name']} (plugin of the {plugin['side']})"
    if plugin["summary"]:
        yield f"  {plugin['summary']}"
    yield f"  from          {plugin['distribution']} {plugin['version']}".rstrip()
    yield f"  state         {plugin['state']}" + (f": {plugin['why']}" if plugin["why"] else "")
    if plugin["api_version"] is not None:
        yield f"  plugin API    {plugin['api_version']}"
    if plugin["implements"]:
        yield "  hooks"
        width = max(len(hook["hook"]) for hook in plugin["implements"])
        for hook in plugin["implements"]:
            deadline = "" if hook["kind"] == Kind.COLLECT else f", within {hook['deadline_seconds']:g} s"
            yield f"    {hook['hook']:{width}}  {hook['kind']}{deadline}"
    if plugin["configuration"]:
        yield "  configuration"
        for parameter in plugin["configuration"]:
            yield f"    {parameter['key']} - {parameter['description']}{_default(parameter)}"
    for what, names in plugin["contributes"].items():
        yield f"  {what}"
        for name in names if names is not None else ["(told when it is started only)"]:
            yield f"    {name}"


def _default(parameter: Mapping[str, Any]) -> str:
    return " (secret)" if parameter["secret"] else f" (default: {json.dumps(parameter['default'])})"

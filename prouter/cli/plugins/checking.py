"""`prouter plugins check [PATH|MODULE]`: what is wrong with plugins and what to do, without starting anything."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from prouter import agent_hookspecs, hookspecs
from prouter.cli.plugins import claiming, looking
from prouter.cli.plugins.targets import name_finding, same_origin, targets_of
from prouter.errors import ConfigError
from prouter.pluginkit.discovery import Found, unknown_names
from prouter.pluginkit.inspecting import Finding, Specs, examine, fits, loaded, misplaced
from prouter.pluginkit.limits import CallLimits

ABOUT = "Find what is wrong with plugins, without starting anything. Each line says what it is and what to do."
WHAT = (
    "a .py file (FILE.py:Class: one of its classes), the name of an installed plugin, a module, or a directory with a "
    "pyproject.toml; without it all"
)
SPECS = {
    "router": Specs("router", hookspecs, "agent", agent_hookspecs),
    "agent": Specs("agent", agent_hookspecs, "router", hookspecs),
}


def run(words: Sequence[str]) -> int:
    """Exit status: 0 when nothing is wrong, 1 when something is, 2 for a configuration that can not be read."""
    parser = looking.make_parser("check", ABOUT)
    parser.add_argument("target", metavar="PATH|NAME|MODULE", nargs="?", help=WHAT)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    given = parser.parse_args(words)
    try:
        checked, findings = _one(given) if given.target is not None else _all(given)
    except ConfigError as error:
        print("\n".join(f"prouter: {mistake}" for mistake in error.mistakes), file=sys.stderr)
        return 2
    findings = list(dict.fromkeys(findings))
    if given.json:
        print(json.dumps({"checked": checked, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(looking.plain(str(finding)))
        named = ", ".join(dict.fromkeys(checked)) if given.target is not None else f"{len(checked)} plugins"
        print(f"{named or given.target}: " + (f"{len(findings)} found" if findings else "nothing is wrong"))
    return 1 if findings else 0


def _one(given: argparse.Namespace) -> tuple[list[str], list[Finding]]:
    with looking.quietly():
        targets, findings = targets_of(given.target)
        placed: dict[str, list[Found]] = {"router": [], "agent": []}
        for target in targets:
            instance, wrong = loaded(target.found.name, target.found.load)
            side = target.side or _side(given, instance)
            if instance is not None:
                wrong += examine(target.found.name, instance, SPECS[side])
                placed[side].append(_held(target.found, instance))
            findings += [*name_finding(target.found.name), *wrong]
        for side, theirs in placed.items():
            if theirs:
                findings += _beside_others(given, side, theirs, findings)
    return [target.found.name for target in targets], findings


def _side(given: argparse.Namespace, instance: Any) -> str:
    if given.agent or given.router:
        return "agent" if given.agent else "router"
    return "agent" if fits(instance, SPECS["agent"]) > fits(instance, SPECS["router"]) else "router"


def _beside_others(
    given: argparse.Namespace, name: str, theirs: Sequence[Found], before: Sequence[Finding]
) -> list[Finding]:
    """What is wrong with these as soon as they are loaded beside all others."""
    mine = {found.name for found in theirs}

    def put(found: Sequence[Found]) -> list[Found]:
        others = [other for other in found if not any(same_origin(other.distribution, t.distribution) for t in theirs)]
        return [*theirs, *others]

    side = looking.look(looking.kind_named(name), _switches_of(given, name), os.environ, put)
    found = list(_of_side(side, before))
    pushed_out = [
        replace(finding, plugin=name)
        for finding in found
        for name in mine
        if finding.plugin not in mine and f"by the plugin {name} and by" in finding.what
    ]
    return [finding for finding in found if finding.plugin in mine] + pushed_out


def _switches_of(given: argparse.Namespace, side: str) -> argparse.Namespace:
    """--config and --set are the router's unless they are said to be the agent's."""
    if side == "router" or given.agent:
        return given
    return argparse.Namespace(config=None, set=[], no_plugin=given.no_plugin, safe=given.safe)


def _all(given: argparse.Namespace) -> tuple[list[str], list[Finding]]:
    checked: list[str] = []
    findings: list[Finding] = []

    def examined(found: Sequence[Found]) -> list[Found]:
        held = []
        for plugin in found:
            if plugin.name in off:
                held.append(plugin)
                continue
            instance, wrong = loaded(plugin.name, plugin.load)
            if instance is not None:
                wrong += examine(plugin.name, instance, SPECS[name])
            held.append(_held(plugin, instance))
            findings.extend([*name_finding(plugin.name), *wrong])
            checked.append(plugin.name)
        return held

    for name in ["agent"] if given.agent else ["router"] if given.router else looking.KINDS:
        kind, chosen = looking.kind_named(name), _switches_of(given, name)
        off = looking.switched_off(kind, chosen)
        side = looking.look(kind, chosen, os.environ, examined)
        findings += [*_of_side(side, findings), *_of_switches(side)]
    return checked, findings


def _held(found: Found, instance: Any) -> Found:
    """A plugin that was imported already; one that could not be is told of once only."""

    def again() -> Any:
        if instance is None:
            raise ImportError("it can not be imported")
        return instance

    return replace(found, load=again)


def _of_side(side: looking.Side, before: Sequence[Finding]) -> Iterator[Finding]:
    """What only shows when all are there. `before`: findings for plugins that need no other word."""
    told = {finding.plugin for finding in before}
    for double in side.doubles:
        what, _, todo = double.partition("; ")
        name = what.split("'")[1]
        told.add(name)
        yield Finding(name, what, todo)
    facts = side.facts()
    for plugin in facts:
        if plugin["state"] == "failed" and plugin["name"] not in told:
            yield Finding(plugin["name"], plugin["why"], "it is left out until that is put right")
    with looking.quietly():
        yield from list(claiming.findings(side))
    for name in sorted(side.host.loaded()):
        yield from misplaced(name, side.host.manager.get_plugin(name), [plugin["name"] for plugin in facts])


def _of_switches(side: looking.Side) -> Iterator[Finding]:
    """Names in the configuration that stand for nothing that works."""
    states = {plugin["name"]: plugin["state"] for plugin in side.host.describe()}
    try:
        CallLimits.read(side.sources.plugins()).check(side.host.hooks())
    except ConfigError as error:
        for mistake in error.mistakes:
            key, _, what = mistake.partition(": ")
            yield Finding(key, *(what.split("; ", 1) if "; " in what else (what, "take it out")))
    for name in unknown_names(side.found, side.switches.disabled):
        yield Finding(name, "plugins.disabled or --no-plugin names it, and it is not there", "take it out")
    required = dict.fromkeys(side.switches.required, "plugins.required")
    if side.kind.name == "router":
        said = side.sources.peek("access").get("authenticators")
        required |= {str(name): "access.authenticators" for name in (said if isinstance(said, list) else ())}
    for name, where in sorted(required.items()):
        state = states.get(name, "not there")
        if state != "loaded":
            yield Finding(
                name, f"{where} names it, and it is {state}", f"no {side.kind.name} starts before it is loaded"
            )

"""What plugins hand over without having been started, and whether it can be taken: by its form, and beside all others.

Belongs here: findings about routes, selectors, commands, drivers and methods. Does not: what a start does about them
(pluginkit/claims.py, whose words these are).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from prouter.cli.main import COMMANDS
from prouter.cli.plugins.looking import Side
from prouter.model.contributions import CliCommand
from prouter.model.methods import OWN_METHODS, RpcMethod
from prouter.pluginkit.answers import described, fits, result_of, words
from prouter.pluginkit.claims import Claims, named, of_selector
from prouter.pluginkit.describe import offered
from prouter.pluginkit.inspecting import Finding
from prouter.web.routes import claims_of

COMMAND = re.compile(r"[a-z][a-z0-9-]*")


def _of_command(command: CliCommand) -> Sequence[str]:
    if not COMMAND.fullmatch(command.name):
        raise ValueError(f"the command {command.name!r} is not of lower-case letters, digits and dashes")
    return (f"command {command.name!r}",)


def _of_method(method: RpcMethod) -> Sequence[str]:
    if method.name.startswith(OWN_METHODS):
        raise ValueError(f"method {method.name!r} has a name that is kept for the agent itself")
    return (f"method {method.name!r}",)


CLAIMS: dict[str, Claims] = {
    "prouter_routes": claims_of,
    "prouter_selectors": of_selector,
    "prouter_commands": _of_command,
    "prouter_drivers": named("driver"),
    "prouter_agent_routes": claims_of,
    "prouter_rpc_methods": _of_method,
}


def findings(side: Side) -> Iterator[Finding]:
    """About all plugins that are loaded; what is told at a start only is passed over."""
    owners = {f"command {name!r}": "prouter itself" for name in COMMANDS}
    for plugin in side.host.loaded():
        for hook, claims in CLAIMS.items():
            members = offered(side.host, plugin, hook)
            if members is None:
                continue
            wanted = result_of(getattr(side.kind.specs, hook))
            if not fits(wanted)(members):
                yield Finding(plugin, f"{hook} hands over {described(members)}", f"it should be {words(wanted)}")
                continue
            for member in members:
                yield from _of_member(plugin, hook, claims, member, owners)


def _of_member(plugin: str, hook: str, claims: Claims, member: Any, owners: dict[str, str]) -> Iterator[Finding]:
    try:
        claimed = list(claims(member))
    except Exception as error:  # noqa: BLE001 -- a property of a plugin's object, or what it holds
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        yield Finding(plugin, f"{hook}: {kind}{error}", "it is left out until that is put right")
        return
    for claim in claimed:
        other = owners.setdefault(claim, plugin)
        if other != plugin:
            for name, of in ((plugin, other), (other, plugin)):
                yield Finding(name, f"{hook}: {claim} is also that of {of}", "only one of them can have it")

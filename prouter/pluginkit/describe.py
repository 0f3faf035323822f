"""What is told of plugins and of the configuration: `Config parameters:` of --help, facts for lists and for the API.

Belongs here: the one place that makes these facts, pure. Does not: how they are shown (cli/plugins/, admin_api).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from importlib_metadata import PackageNotFoundError, metadata

from prouter.model.api_version import API_VERSION
from prouter.pluginkit.discovery import BUILT_IN
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.schema import Parameter, Schema, default_of

Contributed = Mapping[str, Sequence[str] | None]
"""By what it is ("routes", "commands"), the names; None: that can not be told before a start."""
NAMED_BY = {
    "prouter_routes": "routes",
    "prouter_selectors": "selectors",
    "prouter_commands": "commands",
    "prouter_drivers": "drivers",
    "prouter_agent_routes": "routes",
    "prouter_rpc_methods": "methods",
}
"""Hooks by which a plugin contributes what has a name, and what that is called in the facts."""


def config_parameters(schema: Schema) -> str:
    """One line a parameter, in the form of the original's, sections apart."""
    lines = ["Config parameters:"]
    section = None
    for parameter in schema:
        above = parameter.key.rpartition(".")[0]
        if above != section:
            lines.append("")
            section = above
        text = str(parameter.schema.get("description", "")).strip()
        whose = f" (of the plugin {parameter.plugin})" if parameter.plugin else ""
        default = "" if parameter.secret else f" (default: {json.dumps(default_of(parameter.schema))})"
        lines.append(f"    {parameter.key} - {text}{whose}{default}")
    return "\n".join(lines)


def plugin_facts(
    host: PluginHost, schema: Schema, contributed: Mapping[str, Contributed]
) -> Sequence[Mapping[str, Any]]:
    """All that is known of each plugin: for GET /plugins and `prouter plugins`. `contributed` is by plugin."""
    return [
        {
            **state,
            "summary": _summary(state["distribution"], host.manager.get_plugin(state["name"])),
            "api_version": _api_version(host.manager.get_plugin(state["name"])),
            "implements": [_hook(host, text.partition(" ")[0]) for text in state["hooks"]],
            "configuration": [_shown(parameter) for parameter in schema if parameter.plugin == state["name"]],
            "contributes": dict(contributed.get(state["name"], {})),
        }
        for state in host.describe()
    ]


def contributions(host: PluginHost, plugin: str, hooks: Sequence[str] = tuple(NAMED_BY)) -> Contributed:
    """What a plugin contributes, as far as it says so without having been started. It is asked for that."""
    told: dict[str, Sequence[str] | None] = {}
    for hook in hooks:
        if _implementation(host, plugin, hook) is not None:
            members = offered(host, plugin, hook)
            told[NAMED_BY[hook]] = _names(members) if members is not None else None
    return told


def offered(host: PluginHost, plugin: str, hook: str) -> list[Any] | None:
    """What a plugin answers to a hook of the kind collect, asked outside a start. None: nothing that can be told."""
    function = _implementation(host, plugin, hook)
    if function is None:
        return None
    try:
        answer = function()
        if inspect.iscoroutine(answer):
            answer.close()
        return list(answer)
    except (Exception, SystemExit):  # noqa: BLE001 -- foreign code that was not started may fail in every way
        return None


def names_of(values: Sequence[Any]) -> list[str]:
    """By which selectors, commands, drivers and methods are known; routes by their verbs and path."""
    return [
        f"{','.join(value.methods)} {value.path}" if hasattr(value, "path") else str(value.name) for value in values
    ]


def _implementation(host: PluginHost, plugin: str, hook: str) -> Any:
    caller = getattr(host.manager.hook, hook, None)
    found = [one for one in caller.get_hookimpls() if one.plugin_name == plugin] if caller is not None else []
    return found[0].function if found else None


def _names(members: Sequence[Any]) -> list[str] | None:
    try:
        return names_of(members)
    except Exception:  # noqa: BLE001 -- members that are none, or properties of theirs
        return None


def _hook(host: PluginHost, name: str) -> Mapping[str, Any]:
    spec = getattr(host.manager.hook, name).spec.function
    return {
        "hook": name,
        "kind": str(spec.prouter_kind),
        "deadline_seconds": spec.prouter_deadline,
        "description": (inspect.getdoc(spec) or "").partition("\n")[0],
    }


def _shown(parameter: Parameter) -> Mapping[str, Any]:
    return {
        "key": parameter.key,
        "description": str(parameter.schema.get("description", "")),
        "default": None if parameter.secret else default_of(parameter.schema),
        "secret": parameter.secret,
        "reloadable": parameter.reloadable,
    }


def _api_version(plugin: Any) -> int | None:
    """None: it is not loaded."""
    return getattr(plugin, "prouter_api_version", API_VERSION) if plugin is not None else None


def _summary(distribution: str, plugin: Any) -> str:
    """That of the distribution; of a file or module, and of what ships, what it says of itself."""
    if distribution == BUILT_IN:  # its summary, which is prouter's, says nothing of this one
        described = getattr(inspect.getmodule(type(plugin)), "__doc__", None) if plugin is not None else ""
    else:
        known = _summary_of_distribution(distribution)
        if known is not None or plugin is None:
            return known or ""
        described = plugin.__doc__ if inspect.ismodule(plugin) else type(plugin).__doc__
    return (described or "").strip().partition("\n")[0]


@lru_cache(maxsize=1000)
def _summary_of_distribution(name: str) -> str | None:
    """None: there is no such distribution."""
    try:
        return str(metadata(name)["Summary"] or "")
    except (PackageNotFoundError, ValueError, KeyError):
        return None

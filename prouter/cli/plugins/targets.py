"""What `prouter plugins check` is to look at: a file, a module, an installed plugin, a project that need not be one."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from importlib_metadata import EntryPoint, PackageNotFoundError, distribution, entry_points

from prouter.pluginkit.discovery import Found, from_text
from prouter.pluginkit.inspecting import Finding

GROUPS = {"prouter.plugins": "router", "prouter.agent_plugins": "agent"}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Of a plugin: it is part of names of metrics and of a directory."""


@dataclass(frozen=True, slots=True)
class Target:
    """A plugin that is to be checked."""

    found: Found
    side: str | None
    """None: its hooks say."""


def targets_of(text: str) -> tuple[list[Target], list[Finding]]:
    """What a path, an installed plugin's name or a module stands for, and what is wrong with a project as such."""
    path = Path(text)
    if path.is_dir():
        return _project(path.resolve())
    if named := list(_named(text)):
        return named, []
    if NAME.fullmatch(text) and find_spec(text) is None:
        todo = f"a file is named by its path, ./{text}.py"
        return [], [Finding(text, "no installed plugin and no module has this name", todo)]
    return [Target(from_text(text), None)], []


def same_origin(left: str, right: str) -> bool:
    """Whether two distributions, or files, are one."""
    if "/" in left + right or left.endswith(".py"):
        return Path(left).resolve() == Path(right).resolve()
    return _normal(left) == _normal(right)


def name_finding(name: str) -> Iterator[Finding]:
    if not NAME.fullmatch(name):
        todo = "letters, digits and underscores: it becomes part of names of metrics and of a directory"
        yield Finding(name, "this is no name for a plugin", todo)


def _named(name: str) -> Iterator[Target]:
    """Installed plugins of this name, on either side; a module of the same name is told from them by its class."""
    for group, side in GROUPS.items():
        for point in entry_points(group=group, name=name):
            of, version = (point.dist.name, point.dist.version) if point.dist is not None else ("", "")
            yield Target(Found(point.name, of, version, point.load), side)


def _project(place: Path) -> tuple[list[Target], list[Finding]]:
    file = place / "pyproject.toml"
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return [], [Finding(place.name, f"pyproject.toml can not be read: {error}", "it names the entry points")]
    project = said.get("project", {})
    name = str(project.get("name", place.name))
    groups: Mapping[str, Any] = project.get("entry-points", {})
    targets = []
    for source in (place / "src", place):
        if source.is_dir() and str(source) not in sys.path:
            sys.path.insert(0, str(source))
    for group, side in GROUPS.items():
        for point, value in groups.get(group, {}).items():
            entry = EntryPoint(name=point, value=value, group=group)
            found = Found(point, name, str(project.get("version", "")), entry.load)
            targets.append(Target(found, side))
    return targets, [*_groups(name, groups), *_installed(name, groups)]


def _groups(name: str, groups: Mapping[str, Any]) -> Iterator[Finding]:
    for group in groups:
        if group not in GROUPS and (group.startswith("prouter") or get_close_matches(group, GROUPS, 1, 0.8)):
            close = get_close_matches(group, GROUPS, 1, 0.0)[0]
            yield Finding(name, f"nobody reads the entry points {group!r}", f"did you mean {close!r}?")
    if not any(group in GROUPS and groups[group] for group in groups):
        todo = '[project.entry-points."prouter.plugins"] with a line NAME = "MODULE:CLASS" makes a plugin known'
        yield Finding(name, "pyproject.toml names no entry points of prouter", todo)


def _installed(name: str, groups: Mapping[str, Any]) -> Iterator[Finding]:
    """A project that is installed as it was before its entry points changed."""
    try:
        there = distribution(name).entry_points
    except (PackageNotFoundError, ValueError):
        return
    for group in GROUPS:
        written = {(point, str(value)) for point, value in groups.get(group, {}).items()}
        installed = {(point.name, point.value) for point in there if point.group == group}
        for point, value in sorted(installed - written):
            what = f"it is installed with the entry point {point} = {value!r}, which pyproject.toml does not name"
            yield Finding(name, what, "install it again")
        for point, value in sorted(written - installed):
            what = f"it is installed without the entry point {point} = {value!r}"
            yield Finding(name, what, "install it again")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

"""Twins of what ships: each built-in's own text as a distribution of somebody else, under the same plugin name.

A foreign name beats a built-in's, so a daemon that finds the twins runs them. Beside them stands a `sitecustomize` that
refuses every import of `prouter.plugins`, and every import by a twin of what is no public door: a twin that works
needs nothing that a stranger does not have.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
GROUPS = ("prouter.plugins", "prouter.agent_plugins")
VERSION = "9.9"

GUARD = """
import builtins, sys

DOORS = ("prouter", "prouter.errors", "prouter.hookspecs", "prouter.agent_hookspecs")
real = builtins.__import__


def closed(name):
    return name.startswith("prouter.") and name not in DOORS and not name.startswith("prouter.model")


def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    names = [name, *(f"{name}.{part}" for part in fromlist or () if name == "prouter")]
    for wanted in names:
        if level == 0 and importer.startswith("twin_of_") and closed(wanted) and not is_attribute(wanted):
            raise ImportError(f"{importer} is a plugin and may not import {wanted}")
    return real(name, globals, locals, fromlist, level)


def is_attribute(wanted):
    return wanted in ("prouter.hookimpl", "prouter.implements", "prouter.__version__")


class NoBuiltIns:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "prouter.plugins" or name.startswith("prouter.plugins."):
            raise ImportError(f"{name} ships with prouter, and twins are to be used")


builtins.__import__ = guarded
sys.meta_path.insert(0, NoBuiltIns)
"""


def entry_points() -> Mapping[str, Mapping[str, str]]:
    """What ships, by group: the name and the place of each plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {group: project["entry-points"][group] for group in GROUPS}


def distribution(place: str) -> str:
    """Of the twin of what is at `prouter.plugins.NAME...`, halves for both daemons together."""
    name = place.partition(":")[0].split(".")[2]
    return f"twin-of-{name.replace('_', '-')}"


def make_twins(place: Path, *, only: str = "") -> Path:
    """A directory for PYTHONPATH with a twin of each built-in (or of the module `only`), and the guard."""
    modules = {point.partition(":")[0].split(".")[2] for group in entry_points().values() for point in group.values()}
    for module in sorted(modules):
        if only in ("", module):
            _make_twin(place, module)
    if not only:
        (place / "sitecustomize.py").write_text(GUARD)
    return place


def _make_twin(place: Path, module: str) -> None:
    source, package = ROOT / "prouter" / "plugins" / module, place / f"twin_of_{module}"
    if source.is_dir():
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        package.mkdir(parents=True)
        shutil.copy(source.with_suffix(".py"), package / "__init__.py")
        for beside in source.parent.glob(f"{module}.*"):
            if beside.suffix != ".py":
                shutil.copy(beside, package)
    for file in package.rglob("*.py"):
        text = file.read_text()
        assert re.sub(rf"prouter\.plugins\.{module}\b", "", text).count("prouter.plugins") == 0, file
        file.write_text(text.replace(f"prouter.plugins.{module}", f"twin_of_{module}"))
    name = f"twin_of_{module}"
    info = place / f"{name}-{VERSION}.dist-info"
    info.mkdir()
    dist = name.replace("_", "-")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {VERSION}\n")
    lines = []
    for group, points in entry_points().items():
        lines += [f"[{group}]"] + [
            f"{plugin} = {point.replace(f'prouter.plugins.{module}', name)}"
            for plugin, point in points.items()
            if point.startswith((f"prouter.plugins.{module}:", f"prouter.plugins.{module}."))
        ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

"""The contracts on imports cover every room and every plugin, so that none is forgotten."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
DOORS = {"prouter.errors", "prouter.model", "prouter.hookspecs", "prouter.agent_hookspecs"}
"""What plugins may import, beside prouter itself."""


def names(place: Path) -> set[str]:
    return {path.stem for path in place.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def rooms() -> set[str]:
    return {f"prouter.{name}" for name in names(ROOT / "prouter") - {"__init__", "__main__"}}


def test_every_room_is_on_a_floor() -> None:
    layers = CONTRACTS["The floors: imports go down only"]["layers"]
    assert {room for layer in layers for room in layer.split(" | ")} == rooms()


def test_plugins_are_kept_from_all_but_the_doors() -> None:
    contract = CONTRACTS["Plugins use the public doors only"]
    assert set(contract["forbidden_modules"]) == rooms() - DOORS - {"prouter.plugins"}


def test_every_plugin_is_independent_and_found_by_the_loader() -> None:
    modules = {f"prouter.plugins.{name}" for name in names(ROOT / "prouter" / "plugins") - {"__init__"}}
    assert set(CONTRACTS["Plugins do not know each other"]["modules"]) == modules
    groups = PROJECT["project"]["entry-points"]
    points = [*groups["prouter.plugins"].values(), *groups["prouter.agent_plugins"].values()]
    assert {".".join(point.partition(":")[0].split(".")[:3]) for point in points} == modules


def test_modules_of_tests_that_are_imported_by_name_have_one_name_each() -> None:
    """pytest puts their directories on one path: of two of one name the tests would get the one that came first."""
    files = [file for file in (ROOT / "tests").rglob("*.py") if file.stem not in ("conftest", "__init__")]
    text = "\n".join(file.read_text() for file in files)
    imported = set(re.findall(r"(?m)^(?:from|import) (\w+)", text))
    counts = Counter(file.stem for file in files if file.stem in imported)
    assert [name for name, count in counts.items() if count > 1] == []

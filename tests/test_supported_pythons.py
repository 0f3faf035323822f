"""What works on the newest patch of a Python version and not on all that pyproject.toml allows."""

from __future__ import annotations

import ast
from pathlib import Path

import prouter

PACKAGE = Path(prouter.__file__).parent


def raises_in_except_star(path: Path) -> list[str]:
    handlers = [node.handlers for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.TryStar)]
    inner = [node for found in handlers for handler in found for node in ast.walk(handler)]
    return [f"{path}:{node.lineno}" for node in inner if isinstance(node, ast.Raise) and node.exc is not None]


def test_nothing_new_is_raised_within_an_except_star() -> None:
    """Before Python 3.11.4 it comes out wrapped in a group, which nobody catches."""
    assert [place for path in PACKAGE.rglob("*.py") for place in raises_in_except_star(path)] == []

"""The package in a directory of its own, as pip has it there: installed, taken away under who runs from it, replaced.

Belongs here: what is on disk, and how a daemon is made to run from it. Does not: what runs meanwhile, and what must
hold.
"""

from __future__ import annotations

import ast
import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

import prouter

PACKAGE = Path(prouter.__file__).parent
RUNNING = ("agent", "core", "http1", "model", "pipe", "pluginkit", "plugins", "rpc", "web")
"""The rooms whose modules a running daemon uses."""


class Installed:
    """`place` is what `pip install --target` fills, compiled modules included."""

    def __init__(self, place: Path, version: str) -> None:
        self.place = place
        self.install(version)

    @property
    def environ(self) -> dict[str, str]:
        """With this a daemon runs from here. No fork of a process that has imported another version."""
        return {"PYTHONPATH": str(self.place), "PYTHONDONTWRITEBYTECODE": "1"}

    def install(self, version: str) -> None:
        """As `pip install --upgrade`: what was there is gone before anything new comes."""
        self.uninstall()
        shutil.copytree(PACKAGE, self.place / "prouter", ignore=shutil.ignore_patterns("testing"))
        front = self.place / "prouter" / "__init__.py"
        front.write_text(front.read_text().replace(repr_of(prouter.__version__), repr_of(version)))
        for module in (self.place / "prouter" / "agent" / "guard" / "held").glob("*.py"):  # no file stays what it was
            module.write_text(module.read_text() + f"\nVERSION = {version!r}\n")
        self._describe(version)

    def uninstall(self) -> None:
        """And nothing in its place yet: what is not imported by now can not be."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)

    def _describe(self, version: str) -> None:
        """What names the package's plugins."""
        found = distribution("prouter")
        described = self.place / f"prouter-{version}.dist-info"
        described.mkdir()
        (described / "entry_points.txt").write_text(found.read_text("entry_points.txt") or "")
        metadata = found.read_text("METADATA") or ""
        (described / "METADATA").write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", metadata, count=1))


def repr_of(version: str) -> str:
    return f'__version__ = "{version}"'


def late_imports() -> list[str]:
    """Imports of our own modules that stand in functions, and so may be done long after a daemon's start.

    In `prouter_startup` they are done by then, and not when only the command's help is asked for.
    """
    found = []
    for room in RUNNING:
        for file in sorted((PACKAGE / room).rglob("*.py")):
            for function in ast.walk(ast.parse(file.read_text())):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    if function.name == "prouter_startup":
                        continue
                    where = f"{file.relative_to(PACKAGE)}:{function.name}"
                    found += [where for each in ast.walk(function) if _is_own_import(each)]
    return sorted(set(found))


def _is_own_import(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level > 0 or (node.module or "").startswith("prouter")
    return isinstance(node, ast.Import) and any(name.name.startswith("prouter") for name in node.names)

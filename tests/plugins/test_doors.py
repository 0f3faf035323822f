"""What the text of a plugin imports, wherever it stands in it: the public doors, and nothing else of prouter.

import-linter looks at modules; this looks at the text of plugins that ship and of the examples: imports in functions,
under TYPE_CHECKING and by a name in a string count the same, private names and a file of prouter's do not pass either.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOORS = ("prouter", "prouter.errors", "prouter.hookspecs", "prouter.agent_hookspecs", "prouter.model")
FRONT = {"hookimpl", "implements", "__version__", "hookspecs", "agent_hookspecs", "errors", "model"}
"""What may be imported from `prouter` itself."""
SHIPPED = sorted((ROOT / "prouter" / "plugins").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples" / "plugins").glob("*/src/**/*.py"))


def package_of(file: Path) -> str:
    """That of the plugin, within which it may import what it likes."""
    if file.is_relative_to(ROOT / "prouter"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:3])
    return file.relative_to(ROOT / "examples" / "plugins").parts[2]


def closed(module: str, own: str) -> bool:
    """Whether a module is one of prouter's that plugins may not have."""
    if module == own or module.startswith(f"{own}."):
        return False
    ours = module == "prouter" or module.startswith("prouter.")
    return ours and module not in DOORS and not module.startswith("prouter.model.")


def wrong_imports(tree: ast.AST, own: str) -> Iterator[str]:
    """Each with its line."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names if closed(name.name, own)]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            private = [name.name for name in node.names if name.name.startswith("_") and name.name != "__version__"]
            names = [module] if closed(module, own) or (module.startswith("prouter") and private) else []
            if module == "prouter":
                names += [f"prouter.{name.name}" for name in node.names if name.name not in FRONT]
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            names = ["." * node.level + (node.module or "")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and closed(node.value, own):
            names = [node.value]  # for importlib, sys.modules, resources
        yield from (f"line {node.lineno}: {name}" for name in names)


@pytest.mark.parametrize("file", [*SHIPPED, *EXAMPLES], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_plugin_imports_the_public_doors_only(file: Path) -> None:
    assert list(wrong_imports(ast.parse(file.read_text()), package_of(file))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import prouter.core.app",
        "from prouter.agent import app",
        "from prouter import web",
        "def later():\n    from prouter.pluginkit.calling import Hooks",
        "if TYPE_CHECKING:\n    from prouter.web import serve",
        "importlib.import_module('prouter.core.services')",
        "files('prouter.plugins')",
        "from prouter.model.access import _hidden",
        "from prouter.plugins.http_proxy import HttpProxy",
        "from ..http_proxy import HttpProxy",
    ],
)
def test_what_leads_past_the_doors_is_seen(text: str) -> None:
    assert list(wrong_imports(ast.parse(text), "prouter.plugins.mine"))

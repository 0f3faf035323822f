"""The examples as their users have them: each is built, installed beside prouter and tested where it is installed."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tokenize
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import prouter
from bare_pytest import PYTEST

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "plugins"
NAMES = sorted(place.parent.name for place in EXAMPLES.glob("*/pyproject.toml"))
MAX_LINES = 150
"""Of code in a package: what is blank, comment or documentation does not count. An example is read as a whole."""
SECTIONS = ["Install", "Configure", "Try", "How it works"]
DOORS = ("prouter", "prouter.hookspecs", "prouter.agent_hookspecs", "prouter.model", "prouter.errors")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LOADED = """
import json
from prouter.pluginkit.discovery import Switches, find
print(json.dumps([
    [group, found.name, found.distribution, found.load().__module__]
    for group in ("prouter.plugins", "prouter.agent_plugins")
    for found in find(group, Switches())
    if not found.built_in
]))
"""


def project(name: str) -> Mapping[str, object]:
    found: Mapping[str, object] = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())["project"]
    return found


def package(name: str) -> Path:
    return EXAMPLES / name / "src" / f"prouter_{name}"


def modules(name: str) -> list[Path]:
    return sorted(package(name).rglob("*.py"))


def run(words: list[str], place: Path, environ: Mapping[str, str] | None = None) -> str:
    """What it says. Raises AssertionError with that when it fails."""
    done = subprocess.run(
        words, cwd=place, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=290
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}"
    return done.stdout


class Environment:
    """A new virtual environment; unless it is `alone`, what is not installed in it comes from that in which we run."""

    def __init__(self, place: Path, *, alone: bool = False) -> None:
        self.place = place
        venv.create(place / "venv", with_pip=False, symlinks=True)
        self.python = str(place / "venv" / "bin" / "python")
        self.environ = {name: text for name, text in os.environ.items() if not name.startswith(("PROUTER_", "PYTEST_"))}
        self.environ |= {"PYTHONDONTWRITEBYTECODE": "1"}
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = place / "venv" / "lib" / version / "site-packages"
        if not alone:
            beside = self.packages / "beside.pth"
            beside.write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
            self.environ |= {"PYTHONPATH": str(Path(prouter.__file__).parents[1])}

    def wheel(self, source: Path, *left_out: str) -> str:
        """Built from a copy, so that nothing appears in the sources."""
        copy = self.place / source.name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "dist", "__pycache__", ".*", *left_out))
        run([sys.executable, "-c", "import hatchling.build; hatchling.build.build_wheel('dist')"], copy)  # PEP 517
        (wheel,) = copy.glob("dist/*.whl")
        return str(wheel)

    def unpack(self, wheel: str) -> None:
        """All that installing a wheel of Python alone comes to (binary distribution format 1.0), without pip itself."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.packages)

    def install(self, *what: str) -> None:
        run([*PIP, "--python", self.python, "install", "-q", *what], self.place)

    def ask(self, program: str) -> object:
        return json.loads(run([self.python, "-c", program], self.place, self.environ))

    def run_tests(self, name: str) -> str:
        """Its own, from a directory in which its sources are not found."""
        tests = self.place / "tests_only"
        shutil.copytree(EXAMPLES / name / "tests", tests / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(EXAMPLES / name / "pyproject.toml", tests)
        words = [self.python, *PYTEST, "-x", f"--basetemp={self.place / 'tmp'}"]
        return run(words, tests, self.environ)


@pytest.mark.parametrize("name", NAMES)
def test_the_wheel_works_where_it_is_installed(name: str, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.unpack(environment.wheel(EXAMPLES / name, "tests"))
    points = project(name)["entry-points"]
    assert isinstance(points, dict)
    wanted = [
        [group, plugin, project(name)["name"], place.partition(":")[0]]
        for group in ("prouter.plugins", "prouter.agent_plugins")
        for plugin, place in points.get(group, {}).items()
    ]
    assert wanted
    assert sorted(environment.ask(LOADED)) == sorted(wanted)  # type: ignore[call-overload]
    told = environment.run_tests(name)
    assert re.search(r"\d+ passed", told), told


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(os.environ.get("PIP_NO_INDEX")), reason="needs an index of packages")
def test_one_works_where_there_was_nothing(tmp_path: Path) -> None:
    environment = Environment(tmp_path, alone=True)
    ours = environment.wheel(ROOT, "tests", "docs", "benchmarks", "examples", "out")
    environment.install(f"{ours}[testing]", environment.wheel(EXAMPLES / "jwt_auth", "tests"))
    told = environment.run_tests("jwt_auth")
    assert re.search(r"\d+ passed", told), told


@pytest.mark.parametrize("name", NAMES)
def test_its_package_is_small_and_uses_the_public_doors(name: str) -> None:
    assert sum(lines_of_code(module.read_text("utf-8")) for module in modules(name)) < MAX_LINES
    assert (package(name) / "py.typed").exists()
    own = {f"prouter_{name}"}
    for module in modules(name):
        for imported in imports(module):
            root = imported.partition(".")[0]
            if root == "prouter":
                assert imported in DOORS or imported.startswith("prouter.model."), f"{module.name}: {imported}"
            assert not root.startswith("prouter_") or root in own, f"{module.name}: {imported}"


def lines_of_code(text: str) -> int:
    silent = {getattr(tokenize, kind) for kind in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in silent]
    code = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def imports(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(names=names, module=str(source)):
                whole = {"prouter", "prouter.model"} & {source}
                inner = {f"{source}.{alias.name}" for alias in names} if whole else {source}
                found |= {source if place in ("prouter.hookimpl", "prouter.implements") else place for place in inner}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_its_readme_says_what_a_stranger_asks(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text("utf-8")
    assert text.startswith(f"# {name}\n\n")
    assert re.findall(r"(?m)^## (.+)$", text)[: len(SECTIONS)] == SECTIONS
    assert f"pip install ./examples/plugins/{name}" in text
    declared = project(name)
    assert declared["name"] == f"prouter-{name.replace('_', '-')}"
    assert str(declared["description"]).startswith("prouter: ")


def test_the_index_names_all_with_the_hooks_that_they_use() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| \[(\w+)\]\((\w+)/README\.md\) \| [^|]+ \| ([^|]+) \|$", text)
    assert [(name, link) for name, link, _ in rows] == [(name, name) for name in NAMES]
    for name, _, hooks in rows:
        assert set(re.findall(r"\w+", hooks)) == {hook.removeprefix("prouter_") for hook in used(name)}, name


def used(name: str) -> set[str]:
    """Hooks that its package implements."""
    text = "\n".join(module.read_text("utf-8") for module in modules(name))
    return set(re.findall(r"@implements\((?:agent_)?hookspecs\.(prouter_\w+)\)", text)) | set(
        re.findall(r"@hookimpl(?:\(.*\))?\s+(?:async )?def (prouter_\w+)", text)
    )

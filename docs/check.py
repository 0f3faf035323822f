"""The docs check: links that lead nowhere, paths, tests and commands in the documentation that do not exist.

Run by the gate. Exit status 1 and a line for each mistake.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from limits import mistakes as limit_mistakes

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
TEST = re.compile(r"`((?:tests/(?:\w+/)*)?)(\w+\.py)(?:::[\w\[\]]+)?`")
ENTRY_GROUPS = ("prouter.plugins", "prouter.agent_plugins")


def pages() -> list[Path]:
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in found if "golden" not in name and (ROOT / name).exists()]


def broken_links(page: Path, text: str) -> list[str]:
    mistakes = []
    for target in LINK.findall(text):
        if target.startswith(("http://", "https://", "#", "mailto:")):
            continue
        if not (page.parent / target.partition("#")[0]).exists():
            mistakes.append(f"{page.relative_to(ROOT)}: {target} is not there")
    return mistakes


def unknown_make_targets(page: Path, text: str, targets: set[str]) -> list[str]:
    code = "\n".join(_code(text))
    return [
        f"{page.relative_to(ROOT)}: there is no `make {name}`"
        for name in set(MAKE.findall(code))
        if name not in targets
    ]


def _code(text: str) -> list[str]:
    """Without that in Python, which has comments."""
    text = re.sub(r"(?ms)^```python\n.*?^```", "", text)
    return [a or b for a, b in re.findall(r"`([^`\n]+)`|^ {4}(.+)$", text, re.MULTILINE)]


def unknown_tests(page: Path, text: str) -> list[str]:
    """Files of tests by path, or by name alone."""
    mistakes = []
    for directory, name in TEST.findall(text):
        there = (ROOT / directory / name).exists() if directory else not name.startswith("test_") or _is_test(name)
        if not there:
            mistakes.append(f"{page.relative_to(ROOT)}: there is no test {directory}{name}")
    return mistakes


@functools.cache
def _is_test(name: str) -> bool:
    return any((ROOT / "tests").rglob(name))


def undocumented_plugins(text: str) -> list[str]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    names = {name for group in ENTRY_GROUPS for name in groups[group]}
    return [
        f"docs/plugins/index.md: the plugin {name} is not described"
        for name in sorted(names)
        if f"`{name}`" not in text
    ]


def stale_pages() -> list[str]:
    """Those that are made from the program and would be made differently now."""
    made = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    return made.stdout.splitlines() or made.stderr.splitlines()[-1:]


def sphinx_mistakes() -> list[str]:
    """Of the site; its warnings are errors."""
    with tempfile.TemporaryDirectory() as site:
        words = ["-W", "--keep-going", "-q", "-b", "html", "docs", site]
        built = subprocess.run([sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True)
    return [line for line in built.stderr.splitlines() if line.strip()] if built.returncode else []


def main() -> int:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mistakes: list[str] = []
    for page in pages():
        text = page.read_text("utf-8")
        mistakes += broken_links(page, text) + unknown_make_targets(page, text, targets)
        mistakes += unknown_tests(page, text)
    mistakes += undocumented_plugins((ROOT / "docs" / "plugins" / "index.md").read_text("utf-8"))
    mistakes += limit_mistakes()
    mistakes += stale_pages() + sphinx_mistakes()
    for mistake in mistakes:
        print(mistake)
    print(f"{len(pages())} pages, {len(mistakes)} mistakes")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())

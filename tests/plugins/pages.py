"""The plugins that the pages of docs/plugins show: blocks of Python that begin with the name of their file."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "plugins"
BLOCK = re.compile(r"(?ms)^```python\n(# (\w+\.py)\n.*?)^```$")


def files() -> dict[str, str]:
    """Text of each, by its name."""
    found = [match for page in sorted(PAGES.glob("*.md")) for match in BLOCK.finditer(page.read_text("utf-8"))]
    named = {match[2]: match[1] for match in found}
    assert len(named) == len(found), "two blocks have one name"
    return named


def write(name: str, place: Path) -> Path:
    """As a reader would save it."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / name
    file.write_text(files()[name], "utf-8")
    return file

"""What was measured stands in pages between two marks; the rest of the page is written by people."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"


def marks(name: str) -> tuple[str, str]:
    """The two lines."""
    return f"<!-- {name} begins -->", f"<!-- {name} ends -->"


def between(page: str, name: str) -> str:
    """What stands there. Raises ValueError where a mark is missing."""
    begin, end = marks(name)
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"a page needs {begin} and {end} once each")
    return page.partition(begin)[2].partition(end)[0].strip()


def filled(page: str, name: str, text: str) -> str:
    """The page with this text there. Raises ValueError where a mark is missing."""
    between(page, name)
    begin, end = marks(name)
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}"


def fill(file: Path, name: str, text: str) -> None:
    file.write_text(filled(file.read_text("utf-8"), name, text), "utf-8")

"""A soak as a picture: memory and descriptors of router and agents by time, and when something broke.

python -m benchmarks.reliability.soak [FILE]    draws out/soak.json, or FILE, to docs/images/soak.svg

The test of a soak writes the file (tests/faults/soaked.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.pages import ROOT

MEASURED = ROOT / "out" / "soak.json"
PICTURE = ROOT / "docs" / "images" / "soak.svg"
COLORS = ("#1d4ed8", "#b45309", "#15803d")
NAMES = ("router", "an agent that is killed", "an agent whose line is cut")
LEFT, WIDTH, HEIGHT, GAP, TOP = 60, 760, 150, 46, 34
INK, PALE, FAULT = "#111827", "#e5e7eb", "#b91c1c"
MINUTES_FROM = 600
"""Seconds; what is longer is told in minutes."""


def main() -> int:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else MEASURED
    PICTURE.write_text(picture(json.loads(place.read_text("utf-8"))), "utf-8")
    return 0


def picture(soak: Mapping[str, Any]) -> str:
    samples = soak["samples"]
    daemons = sorted({name for sample in samples for name in sample if name != "at"}, key=lambda name: name[-1])
    end = samples[-1]["at"]
    parts = _legend(daemons)
    panels = (
        ("memory, MiB", lambda daemon: daemon["rss_kib"] / 1024),
        ("descriptors", lambda daemon: daemon["descriptors"]),
    )
    for number, (title, value) in enumerate(panels):
        parts += _panel(soak, daemons, end, TOP + number * (HEIGHT + GAP), title, value)
    height = TOP + len(panels) * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" font-size="11" '
        f'font-family="ui-sans-serif, system-ui, sans-serif" role="img" aria-label="A soak">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{chr(10).join(parts)}\n</svg>\n'
    )


def _legend(daemons: Sequence[str]) -> list[str]:
    parts = []
    for number, (_, color, name) in enumerate(zip(daemons, COLORS, NAMES, strict=True)):
        x = LEFT + number * 180
        parts += [f'<rect x="{x}" y="8" width="10" height="10" fill="{color}"/>', _text(x + 15, 17, name)]
    x = LEFT + len(daemons) * 180
    return [*parts, f'<line x1="{x}" y1="8" x2="{x}" y2="18" stroke="{FAULT}"/>', _text(x + 8, 17, "something breaks")]


def _panel(
    soak: Mapping[str, Any],
    daemons: Sequence[str],
    end: float,
    top: int,
    title: str,
    value: Callable[[Mapping[str, Any]], float],
) -> list[str]:
    found = {
        name: [(sample["at"], value(sample[name]), sample[name]["pid"]) for sample in soak["samples"] if name in sample]
        for name in daemons
    }
    most = max(point[1] for points in found.values() for point in points) * 1.1

    def x(at: float) -> float:
        return LEFT + at / end * WIDTH

    def y(amount: float) -> float:
        return top + HEIGHT - amount / most * HEIGHT

    parts = [_text(LEFT, top - 4, title, 'font-weight="600"')]
    for quarter in range(5):
        amount, at = most * quarter / 4, end * quarter / 4
        parts.append(
            f'<line x1="{LEFT}" y1="{y(amount):.1f}" x2="{LEFT + WIDTH}" y2="{y(amount):.1f}" stroke="{PALE}"/>'
        )
        parts.append(_text(LEFT - 6, y(amount) + 4, f"{amount:.0f}", 'text-anchor="end"'))
        told = f"{at / 60:.0f} min" if end > MINUTES_FROM else f"{at:.0f} s"
        parts.append(_text(x(at), top + HEIGHT + 14, told, 'text-anchor="middle"'))
    for fault in soak["faults"]:
        at = x(min(max(fault["at"], 0), end))
        title = f"<title>{escape(fault['what'])}</title>"
        parts.append(
            f'<line x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{top + HEIGHT}" stroke="{FAULT}" '
            f'stroke-opacity="0.25">{title}</line>'
        )
    for name, color in zip(daemons, COLORS, strict=True):
        for pid in dict.fromkeys(point[2] for point in found[name]):  # another process is another line
            points = " ".join(f"{x(at):.1f},{y(amount):.1f}" for at, amount, one in found[name] if one == pid)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    return parts


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" {more}>{escape(words)}</text>'


if __name__ == "__main__":
    sys.exit(main())

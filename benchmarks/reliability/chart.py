"""Two pictures: how near each figure is to its goal, in both forms; and how times that were taken often are spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from figures import PARTS
from promised import ROWS

from benchmarks.proxies.chart import shown

Figure = Mapping[str, Any]
COLORS = {"short": "#65a30d", "long": "#15803d"}
MISSED, GOAL, INK, PALE = "#b91c1c", "#111827", "#111827", "#e5e7eb"
NAME_WIDTH, BAR_WIDTH, RIGHT_WIDTH, STEP, BAR_HEIGHT, TOP = 470, 360, 130, 18, 6, 40
WIDTH = NAME_WIDTH + BAR_WIDTH + RIGHT_WIDTH
FEW = 5
"""Times that are no distribution."""
MOST = 1.25
"""Of a goal: what is beyond ends here."""


def bars(figures: Sequence[Figure]) -> str:
    """A line for each figure with a goal that is not 0 and not a least, a bar for each form, as a part of its goal."""
    drawn = [figure for figure in figures if isinstance(figure["goal"], int | float) and figure["goal"] > 0]
    drawn = [figure for figure in drawn if figure["unit"] or figure["value"] != figure["goal"]]  # all of them: no part
    parts, y = [], TOP
    for row in ROWS:
        mine = [figure for figure in drawn if figure["row"] == row]
        if not mine:
            continue
        parts.append(_text(8, y + 12, f"{row}: {ROWS[row].title}", 'font-weight="600"'))
        y += STEP + 2
        for name in sorted({figure["name"] for figure in mine}):
            forms = {figure["form"]: figure for figure in mine if figure["name"] == name}
            parts += _line(forms, y)
            y += STEP
        y += 8
    at = NAME_WIDTH + BAR_WIDTH / MOST
    goal = f'<line x1="{at:.0f}" y1="{TOP - 6}" x2="{at:.0f}" y2="{y}" stroke="{GOAL}" stroke-dasharray="3 3"/>'
    legend = _legend("the short form, in the gate", "the long form")
    return _picture([*legend, goal, _text(at, 30, "goal", 'text-anchor="middle"'), *parts], y + 6, "Figures and goals")


def _line(forms: Mapping[str, Figure], y: int) -> list[str]:
    figure = forms.get("long") or forms["short"]
    name = figure["name"]
    parts = [_text(NAME_WIDTH - 10, y + 12, name if len(name) < 76 else f"{name[:75]}…", 'text-anchor="end"')]
    for number, form in enumerate(form for form in COLORS if form in forms):
        found = forms[form]
        part = found["value"] / found["goal"]
        color = COLORS[form] if part <= 1 else MISSED
        width = max(1.5, min(part, MOST) / MOST * BAR_WIDTH)
        top = y + 2 + number * (BAR_HEIGHT + 1)
        parts.append(f'<rect x="{NAME_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{color}"/>')
    words = f"{shown(figure['value'])} of {shown(figure['goal'])} {figure['unit']}"
    return [*parts, _text(NAME_WIDTH + BAR_WIDTH + 8, y + 12, words)]


def spreads(figures: Iterable[Figure]) -> str:
    """Of each figure that is one of many: from least to most, all but a twentieth on each side, the middle half."""
    drawn = [figure for figure in figures if figure.get("count", 0) >= FEW and figure["row"] in ROWS]
    order = list(ROWS)
    drawn.sort(key=lambda figure: (order.index(figure["row"]), figure["name"], figure["form"] == "long"))
    in_seconds = [_seconds(figure) for figure in drawn]
    least, most = -3.0, math.log10(max([20.0, *(max(values) for values in in_seconds)]))

    def x(seconds: float) -> float:
        return NAME_WIDTH + (math.log10(max(seconds, 10**least)) - least) / (most - least) * BAR_WIDTH

    parts, bottom = [], TOP + STEP * len(drawn)
    for power in range(int(least), math.floor(most) + 1):
        at = x(10.0**power)
        parts.append(f'<line x1="{at:.0f}" y1="{TOP - 6}" x2="{at:.0f}" y2="{bottom}" stroke="{PALE}"/>')
        told = f"{10**power} s" if power >= 0 else f"{10 ** (power + 3)} ms"
        parts.append(_text(at, 30, told, 'text-anchor="middle"'))
    for number, (figure, values) in enumerate(zip(drawn, in_seconds, strict=True)):
        parts += _spread(figure, values, TOP + STEP * number, x)
    legend = _legend("short", "long: least to most, 5 % to 95 %, middle half, median")
    return _picture([*legend, *parts], bottom + 6, "Times that were taken often")


def _spread(figure: Figure, values: Sequence[float], y: int, x: Any) -> list[str]:
    part = dict(zip(PARTS, values, strict=True))
    color = COLORS[figure["form"]]
    name = f"{figure['row']}: {figure['name']}"
    parts = [_text(NAME_WIDTH - 10, y + 12, name if len(name) < 76 else f"{name[:75]}…", 'text-anchor="end"')]
    for low, high, height in ((0, 100, 1.5), (5, 95, 5), (25, 75, 11)):
        left, width = x(part[low]), max(1.0, x(part[high]) - x(part[low]))
        top = y + 8 - height / 2
        parts.append(
            f'<rect x="{left:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}" fill="{color}" '
            f'fill-opacity="{1 if height > 10 else 0.5}"/>'
        )
    parts.append(f'<rect x="{x(part[50]) - 1:.1f}" y="{y + 1}" width="2" height="14" fill="#ffffff"/>')
    if isinstance(figure["goal"], int | float) and figure["goal"] > 0:
        at = x(figure["goal"] / (1000 if figure["unit"] == "ms" else 1))
        parts.append(f'<line x1="{at:.1f}" y1="{y}" x2="{at:.1f}" y2="{y + 16}" stroke="{MISSED}" stroke-width="2"/>')
    words = f"{figure['count']:,} of the {figure['form']} form"
    return [*parts, _text(NAME_WIDTH + BAR_WIDTH + 8, y + 12, words)]


def _seconds(figure: Figure) -> list[float]:
    return [value / 1000 if figure["unit"] == "ms" else value for value in figure["percentiles"]]


def _legend(short: str, long: str) -> list[str]:
    parts = []
    for x, form, words in ((8, "short", short), (190, "long", long)):
        parts.append(f'<rect x="{x}" y="6" width="10" height="10" fill="{COLORS[form]}"/>')
        parts.append(_text(x + 15, 15, words))
    return parts


def _picture(parts: Iterable[str], height: int, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-size="11" font-family="ui-sans-serif, system-ui, sans-serif" role="img" aria-label="{label}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{chr(10).join(parts)}\n</svg>\n'
    )


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{INK}" {more}>{escape(words)}</text>'

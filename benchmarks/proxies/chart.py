"""The chart: SVG of what a request costs each proxy."""

from __future__ import annotations

from html import escape

from benchmarks.proxies.figures import ASYNCIO, OURS, TOLD, UNITS, loads, systems
from benchmarks.rows import Measured

DRAWN = ("get32", "headers", "new", "sockets", "down", "up")
COLORS = {OURS: "#15803d", ASYNCIO: "#65a30d"}
COLUMNS, COLUMN_WIDTH, NAME_WIDTH, BAR_WIDTH, BAR_HEIGHT, STEP = 2, 460, 180, 210, 14, 20


def chart(measured: Measured) -> str:
    """A group of bars for each load, each to a scale of its own: the CPU time of all processes of a proxy."""
    parts: list[str] = []
    top, bottom = 26, 26
    for number, load in enumerate(load for load in loads(measured) if load in DRAWN):
        left = number % COLUMNS * COLUMN_WIDTH
        if not left:
            top = bottom
        figure = TOLD[load].main
        parts.append(_text(left + 10, top, f"{TOLD[load].title}: {UNITS[figure]}", 'font-weight="600"'))
        group = [(name, measured.median(figure, load=load, system=name)) for name in systems(measured)]
        bars = [(name, value) for name, value in group if value is not None and name != "direct"]
        parts += _bars(bars, left, top + 10)
        bottom = max(bottom, top + 10 + STEP * len(bars) + 26)
    width, height = COLUMNS * COLUMN_WIDTH, bottom - 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-size="12" font-family="ui-sans-serif, system-ui, sans-serif" role="img" '
        'aria-label="CPU time of a request, by proxy; shorter is better">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{chr(10).join(parts)}\n</svg>\n'
    )


def shown(value: float) -> str:
    """Three digits, with commas in thousands."""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _bars(bars: list[tuple[str, float]], x: int, y: int) -> list[str]:
    parts = []
    most = max((value for _, value in bars), default=0.0) or 1.0
    for name, value in bars:
        width = max(1.0, value / most * BAR_WIDTH)
        color = COLORS.get(name, "#9ca3af")
        parts.append(_text(x + NAME_WIDTH, y + 11, name, 'text-anchor="end"'))
        parts.append(
            f'<rect x="{x + NAME_WIDTH + 8}" y="{y}" width="{width:.0f}" height="{BAR_HEIGHT}" fill="{color}"/>'
        )
        parts.append(_text(x + NAME_WIDTH + 14 + round(width), y + 11, shown(value)))
        y += STEP
    return parts


def _text(x: int, y: int, words: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" fill="#111827" {more}>{escape(words)}</text>'

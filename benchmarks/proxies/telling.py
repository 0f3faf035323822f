"""Of raw rows: medians, ratios, the table, the chart, the goals, and the lines of README and docs between two marks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.proxies.loads import LOADS

ROOT = Path(__file__).resolve().parents[2]
OURS, ASYNCIO, CHP, NGINX = "prouter (uvloop)", "prouter (asyncio)", "configurable-http-proxy x1", "nginx x2"
FIGURES = {
    "get32": ("rate", "cpu_us", "p99_ms"),
    "get256": ("rate", "cpu_us", "p99_ms"),
    "headers": ("rate", "cpu_us", "p99_ms"),
    "new": ("rate", "cpu_us", "p99_ms"),
    "down": ("gib_s", "cpu_s_gib"),
    "up": ("gib_s", "cpu_s_gib"),
    "sockets": ("rate", "cpu_us", "p99_ms"),
    "beside": ("rate", "p99_ms"),
    "idle": ("mib",),
}
UNITS = {
    "rate": "a second",
    "cpu_us": "us of CPU each",
    "p99_ms": "ms p99",
    "gib_s": "GiB/s",
    "cpu_s_gib": "s of CPU a GiB",
    "mib": "MiB",
}
GOALS: tuple[tuple[str, str, str, str, str, float], ...] = (
    ("get32", OURS, "cpu_us", CHP, "<=", 0.20),
    ("get32", OURS, "rate", CHP, ">=", 5.0),
    ("get32", OURS, "p99_ms", CHP, "<=", 0.4),
    ("get32", OURS, "cpu_us", NGINX, "<=", 1.25),
    ("get256", OURS, "rate", CHP, ">=", 5.0),
    ("headers", OURS, "cpu_us", CHP, "<=", 0.20),
    ("headers", OURS, "cpu_us", NGINX, "<=", 1.4),
    ("new", OURS, "cpu_us", CHP, "<=", 0.35),
    ("new", OURS, "rate", CHP, ">=", 3.0),
    ("down", OURS, "cpu_s_gib", CHP, "<=", 0.4),
    ("up", OURS, "cpu_s_gib", CHP, "<=", 0.6),
    ("sockets", OURS, "cpu_us", CHP, "<=", 0.8),
    ("sockets", OURS, "rate", CHP, ">=", 1.0),
    ("beside", OURS, "p99_ms", CHP, "<=", 0.4),
    ("get32", ASYNCIO, "rate", CHP, ">=", 4.0),
)
"""Load, system, figure, against whom, and how the ratio should be."""
IDLE_MIB = 12.0
BEGIN, END = "<!-- the benchmark's table begins -->", "<!-- the benchmark's table ends -->"
Document = Mapping[str, Any]


def median(document: Document, load: str, system: str, figure: str) -> float | None:
    """Over the rounds; None where it was not measured."""
    found = [
        row[figure] for row in document["rows"] if row["load"] == load and row["system"] == system and figure in row
    ]
    return statistics.median(found) if found else None


def ratio(document: Document, load: str, ours: str, figure: str, theirs: str) -> float | None:
    """The median of the rounds' ratios: both were measured next to each other in each."""
    pairs: dict[int, dict[str, float]] = {}
    for row in document["rows"]:
        if row["load"] == load and row["system"] in (ours, theirs) and figure in row:
            pairs.setdefault(row["round"], {})[row["system"]] = row[figure]
    ratios = [pair[ours] / pair[theirs] for pair in pairs.values() if len(pair) == 2 and pair[theirs]]
    return statistics.median(ratios) if ratios else None


def goals_missed(document: Document) -> list[str]:
    missed = []
    for load, ours, figure, theirs, sign, bound in GOALS:
        found = ratio(document, load, ours, figure, theirs)
        if found is not None and (found > bound if sign == "<=" else found < bound):
            missed.append(f"{load}: {figure} of {ours} is {found:.2f} of {theirs}, the goal is {sign} {bound}")
    for load in ("get32", "get256"):
        lost = sum(row["errors"] for row in document["rows"] if row["load"] == load and row["system"] == OURS)
        if lost:
            missed.append(f"{load}: {lost:g} errors")
    idle = median(document, "idle", OURS, "mib")
    if idle is not None and idle > IDLE_MIB:
        missed.append(f"idle: {idle:.1f} MiB, the goal is <= {IDLE_MIB}")
    return missed


def systems(document: Document) -> list[str]:
    return list(dict.fromkeys(row["system"] for row in document["rows"]))


def table(document: Document) -> str:
    """Markdown: a row for each load and figure, a column for each system."""
    names = systems(document)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for load in dict.fromkeys(row["load"] for row in document["rows"]):
        for figure in FIGURES[load]:
            values = [median(document, load, name, figure) for name in names]
            cells = " | ".join("" if value is None else shown(value) for value in values)
            lines.append(f"| {LOADS[load][0]}: {UNITS[figure]} | {cells} |")
    return "\n".join(lines)


def shown(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def chart(document: Document) -> str:
    """SVG: CPU of a request by system, for the loads that are requests; shorter is better."""
    loads = [
        load for load in ("get32", "headers", "new", "sockets") if any(row["load"] == load for row in document["rows"])
    ]
    names = [name for name in systems(document) if name != "direct"]
    parts, y = [], 30
    for load in loads:
        values = {name: median(document, load, name, "cpu_us") or 0.0 for name in names}
        most = max(values.values()) or 1.0
        parts.append(f'<text x="10" y="{y}" font-weight="600">{escape(LOADS[load][0])}: us of CPU each</text>')
        y += 10
        for name, value in values.items():
            color = "#15803d" if name.startswith("prouter") else "#9ca3af"
            width = value / most * 420
            parts.append(f'<text x="210" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="220" y="{y}" width="{width:.0f}" height="16" rx="3" fill="{color}"/>')
            parts.append(f'<text x="{226 + width:.0f}" y="{y + 13}">{shown(value)}</text>')
            y += 22
        y += 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {y}" width="720" height="{y}" font-size="12" '
        f'font-family="ui-sans-serif, system-ui, sans-serif" role="img" aria-label="CPU of a request, by proxy">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def machine_text(document: Document) -> str:
    machine = document["machine"]
    versions = "; ".join(machine["versions"].values())
    rounds = 1 + max(row["round"] for row in document["rows"])
    return (
        f"{machine['cpus']} CPUs ({machine['model']}), {machine['system']}, Python {machine['python']}; {versions}. "
        f"Medians of {rounds} interleaved rounds in one run; compare columns, never runs."
    )


def write(document: Document, place: Path, *, into_pages: bool) -> None:
    """The table and the chart beside the raw rows; into README and docs where they are the published ones."""
    (place / "table.md").write_text(f"{table(document)}\n\n{machine_text(document)}\n")
    (place / "cpu.svg").write_text(chart(document))
    if into_pages:
        (ROOT / "docs" / "images" / "benchmark.svg").write_text(chart(document))
        for page in (ROOT / "README.md", ROOT / "docs" / "performance.md"):
            if page.exists() and BEGIN in (text := page.read_text("utf-8")):
                before, _, rest = text.partition(BEGIN)
                after = rest.partition(END)[2]
                middle = f"{BEGIN}\n\n{table(document)}\n\n{machine_text(document)}\n\n{END}"
                page.write_text(before + middle + after, "utf-8")

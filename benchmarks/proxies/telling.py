"""What raw rows say, for pages: tables, who is slower than whom, which goals hold. Made of the rows alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks import machine, pages
from benchmarks.proxies.chart import chart, shown
from benchmarks.proxies.figures import (
    ASYNCIO,
    CHP,
    GOALS,
    NGINX,
    OTHERS,
    OURS,
    TOLD,
    UNITS,
    errors,
    loads,
    ratio,
    ratios_of,
    rounds,
    systems,
    worse,
)
from benchmarks.rows import Measured, in_order

MARK = "the benchmark's table"
SLOWER_MARK = "what is slower"
IMAGE = pages.IMAGES / "benchmark.svg"
SHORT = (NGINX, "haproxy x2", CHP, OURS, ASYNCIO)
"""The columns of the README."""
SHORT_FIGURES = {"cpu_us": "us", "rate": "/s", "cpu_s_gib": "s", "gib_s": "GiB/s", "p99_ms": "ms p99", "mib": "MiB"}
SHORT_FIGURES["memory_mib"] = "MiB"
SHORT_MORE = {"get32": "memory_mib", "get256": "p99_ms", "beside": "gib_s"}
"""What the README says of a load besides what it costs and how much went through."""
RELIABLE_ROUNDS = 5
ALIKE = 1.005
"""A ratio that reads 1.00 is neither dearer nor cheaper."""
VERDICTS = {True: "yes", False: "**no**", None: "not measured"}


def short(measured: Measured) -> str:
    """For the README."""
    return "\n\n".join(
        (
            short_table(measured),
            f"CPU time of one request (of one GiB) in all processes of a proxy, and how much went through; in the "
            f"first row their memory under that load, too, and beside a download how much of that went through. "
            f"Medians of interleaved rounds ({rounds(measured)}) on one machine with {measured.about['cpus']} CPUs, "
            f"{measured.about['at'][:10]}; prouter is two hops with all its plugins on.{_doubt(measured)}",
            beside(measured, [name for name in OTHERS if name in SHORT]),
            goals_in_short(measured),
            went_wrong(measured),
        )
    )


def whole(measured: Measured) -> str:
    """For the page about performance."""
    seconds = measured.about["options"]["seconds"]
    warm = measured.about["options"].get("warm_seconds")
    behind = f", behind {warm} s of the same load" if warm else ""
    parts = [
        machine.told(measured.about),
        f"Medians of interleaved rounds ({rounds(measured)}) of {seconds} s for each load{behind}.{_doubt(measured)}",
        table(measured),
        "### Who is slower than whom",
        beside(measured),
        "### The goals",
        goals(measured),
    ]
    if used(measured):
        parts += ["### What is paid for when it is used", used(measured)]
    return "\n\n".join([*parts, "### What went wrong", went_wrong(measured)])


def _doubt(measured: Measured) -> str:
    return "" if rounds(measured) >= RELIABLE_ROUNDS else " **Too few rounds to rely on.**"


def short_table(measured: Measured) -> str:
    names = [name for name in SHORT if name in systems(measured)]
    lines = _head(["", *names])
    for load in loads(measured):
        cells = [_cell(measured, load, name) for name in names]
        lines.append(f"| {TOLD[load].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(measured: Measured, load: str, name: str) -> str:
    figures = in_order((TOLD[load].main, TOLD[load].figures[0], SHORT_MORE.get(load, TOLD[load].main)))
    values = [(figure, measured.median(figure, load=load, system=name)) for figure in figures]
    told = [f"{shown(value)} {SHORT_FIGURES[figure]}" for figure, value in values if value is not None]
    return " · ".join(told).replace(" /s", "/s")


def table(measured: Measured) -> str:
    """A row for each load and figure, a column for each system."""
    names = systems(measured)
    lines = _head(["", *names])
    for load in loads(measured):
        for figure in TOLD[load].figures:
            cells = [_figure(measured, load, figure, name) for name in names]
            lines.append(f"| {TOLD[load].title}: {UNITS[figure]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(measured: Measured, load: str, figure: str, name: str) -> str:
    if name == "direct" and figure in ("cpu_us", "cpu_s_gib", "mib", "memory_mib"):
        return ""  # without a proxy there is nothing that a proxy costs
    value = measured.median(figure, load=load, system=name)
    return "" if value is None else shown(value)


def _head(names: list[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


def beside(measured: Measured, others: Iterable[str] = OTHERS) -> str:
    """A line for each of the others: in what prouter costs more, in what less, by the main figure of each load; and
    where its slowest requests are slower and it needs more memory, if that is not the main figure."""
    lines = []
    for theirs in (name for name in others if name in systems(measured)):
        found = {load: ratio(measured, load, TOLD[load].main, OURS, theirs) for load in loads(measured)}
        known = {load: value for load, value in found.items() if value is not None}
        more = [f"{_what(load)} {value:.2f}" for load, value in known.items() if value >= ALIKE]
        less = [f"{_what(load)} {value:.2f}" for load, value in known.items() if value <= 2 - ALIKE]
        same = [_what(load) for load, value in known.items() if 2 - ALIKE < value < ALIKE]
        late, fat = _also_worse(measured, "p99_ms", theirs), _also_worse(measured, "memory_mib", theirs)
        told = (("dearer", more), ("slower at p99", late), ("more memory", fat), ("as dear", same), ("cheaper", less))
        parts = [f"{word}: {', '.join(each)}" for word, each in told if each]
        lines.append(f"- **{theirs}**, {'; '.join(parts)}.")
    return (
        "What prouter on uvloop costs, in multiples of what the other costs (medians of the rounds' ratios), beside\n\n"
        + "\n".join(lines)
    )


def _also_worse(measured: Measured, figure: str, theirs: str) -> list[str]:
    """Loads of which this is not the main figure."""
    found = {
        load: worse(measured, load, figure, OURS, theirs)
        for load in loads(measured)
        if figure in TOLD[load].figures and figure != TOLD[load].main
    }
    return [f"{TOLD[load].title} {value:.2f}" for load, value in found.items() if value]


def slower(measured: Measured) -> str:
    """Each row of the whole table in which prouter on uvloop is worse than one of the others, and how many times."""
    names = [name for name in OTHERS if name in systems(measured)]
    lines = _head(["times as slow, as dear or as large as with", *names])
    for load in loads(measured):
        for figure in TOLD[load].figures:
            found = [worse(measured, load, figure, OURS, theirs) for theirs in names]
            if any(found):
                cells = ["" if value is None else f"{value:.2f}" for value in found]
                lines.append(f"| {TOLD[load].title}: {UNITS[figure]} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else "In no row."


def _what(load: str) -> str:
    kind = {"p99_ms": "p99 of ", "mib": "memory of "}.get(TOLD[load].main, "")
    return f"{kind}{TOLD[load].title}"


def goals(measured: Measured) -> str:
    lines = _head(["goal", "is to be", "is", "in the rounds", "holds"])
    for goal in GOALS:
        found = goal.found(measured)
        median, span = ("", "") if not found else (shown(statistics.median(found)), _span(found))
        verdict = VERDICTS[goal.holds(measured)]
        lines.append(f"| {goal.text()} | {goal.sign} {goal.bound:g} | {median} | {span} | {verdict} |")
    return "\n".join(lines)


def _span(found: list[float]) -> str:
    return f"{shown(min(found))} to {shown(max(found))}" if len(found) > 1 else ""


def goals_missed(measured: Measured) -> list[str]:
    """A line for each goal that was measured and does not hold."""
    missed = [goal for goal in GOALS if goal.holds(measured) is False]
    return [
        f"{goal.text()} is {shown(statistics.median(goal.found(measured)))}, to be {goal.sign} {goal.bound:g}"
        for goal in missed
    ]


def goals_in_short(measured: Measured) -> str:
    verdicts = [goal.holds(measured) for goal in GOALS]
    goals_link = f"{len(GOALS)} [goals](docs/performance.md#the-goals)"
    near = sum(goal.is_near(measured) for goal in GOALS if goal.holds(measured))
    text = f"Of the {goals_link} that we have set ourselves {verdicts.count(True)} hold"
    if near:
        text += f", {near} of them not in each round"
    if None in verdicts:
        text += f", {verdicts.count(None)} were not measured"
    missed = goals_missed(measured)
    return f"{text}." if not missed else f"{text}. Those that do not: {'; '.join(missed)}."


def used(measured: Measured) -> str:
    """What prouter alone costs while somebody uses more of it, beside when nobody does; empty when not measured."""
    lines = _head(["GET over 32 connections", "us of CPU each", "a second", "times the CPU", "in the rounds"])
    for load, system in in_order_of_use(measured):
        cpu, rate = (measured.median(figure, load=load, system=system) for figure in ("cpu_us", "rate"))
        times = ratios_of(measured, "cpu_us", (load, system), ("get32", OURS))
        if cpu is not None and rate is not None and times:
            name = system if load == "get32" else f"{system}, /metrics read each second"
            lines.append(f"| {name} | {shown(cpu)} | {shown(rate)} | {statistics.median(times):.2f} | {_span(times)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def in_order_of_use(measured: Measured) -> list[tuple[str, str]]:
    """Loads and systems that are no comparison."""
    known = systems(measured)
    found = {(row["load"], row["system"]): None for row in measured.rows}
    return [pair for pair in found if pair[0] == "scraped" or pair[1] not in known]


def went_wrong(measured: Measured) -> str:
    lines = errors(measured)
    return "No request failed." if not lines else "Failed: " + "; ".join(lines) + "."


def write(measured: Measured, place: Path) -> None:
    """The tables and the chart beside the raw rows."""
    (place / "proxies.md").write_text(f"{whole(measured)}\n")
    (place / "proxies.svg").write_text(chart(measured))


def publish(measured: Measured) -> None:
    """Into README, docs/performance.md and the image that both show."""
    IMAGE.write_text(chart(measured))
    pages.fill(pages.README, MARK, short(measured))
    pages.fill(pages.PERFORMANCE, MARK, whole(measured))
    pages.fill(pages.PERFORMANCE, SLOWER_MARK, slower(measured))

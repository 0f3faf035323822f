"""What figures of tests/faults say, for two pages: a line for each promise; all of them, with two pictures.

Made of the kept figures alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from figures import FORMS, merge
from promised import ROWS

from benchmarks import machine, pages
from benchmarks.proxies.chart import shown
from benchmarks.reliability import chart
from benchmarks.rows import RESULTS, Keeper, read

Figure = Mapping[str, Any]
MARK, SHORT_MARK = "the table of figures", "the promises in short"
PAGE = pages.ROOT / "docs" / "reliability-figures.md"
SHORT_PAGE = pages.ROOT / "docs" / "reliability.md"
KEPT = RESULTS / "reliability.jsonl"
IMAGES = {"reliability.svg": chart.bars, "reliability-spread.svg": chart.spreads}
VERDICTS = {True: "yes", False: "**no**", None: ""}


def publish(measured: Sequence[dict[str, Any]]) -> None:
    """Adds these to what is kept, and shows all."""
    kept = read(KEPT) if KEPT.exists() else None
    earlier = [dict(row) for row in kept.rows] if kept else []
    again = {(figure["test"], figure["form"]) for figure in measured}
    earlier = [figure for figure in earlier if (figure["test"], figure["form"]) not in again]
    figures = [figure for figure in merge(earlier, measured) if figure["row"] in ROWS and is_tested(figure)]
    keeper = Keeper(KEPT, machine.about({}, {}))
    for figure in figures:
        keeper.add(figure)
    show(figures)


def show(figures: Sequence[Figure]) -> None:
    for name, draw in IMAGES.items():
        (pages.IMAGES / name).write_text(draw(figures))
    pages.fill(PAGE, MARK, whole(figures))
    pages.fill(SHORT_PAGE, SHORT_MARK, short(figures))


def is_tested(figure: Figure) -> bool:
    """Whether the test that measured it is still there."""
    file, _, name = figure["test"].partition("::")
    place = pages.ROOT / file
    return place.exists() and f"def {name.partition('[')[0]}(" in place.read_text("utf-8")


def whole(figures: Sequence[Figure]) -> str:
    return "\n\n".join((about(figures), table(figures)))


def short(figures: Sequence[Figure]) -> str:
    """How many figures of each promise there are, and which of them do not hold."""
    lines = ["| | promise | figures in the gate | at full size | do not hold |", "|---|---|---|---|---|"]
    for row, promise in ROWS.items():
        mine = [figure for figure in figures if figure["row"] == row]
        counts = [str(sum(figure["form"] == form for figure in mine) or "") for form in FORMS]
        missed = "; ".join(not_held(figure) for figure in mine if figure["holds"] is False)
        lines.append(f"| {row} | {promise.title} | {' | '.join(counts)} | {missed} |")
    return "\n".join(lines)


def not_held(figure: Figure) -> str:
    return f"{figure['name']}: {cell(figure)}, to be {goal(figure)} ({figure['form']})"


def about(figures: Sequence[Figure]) -> str:
    """Of what, when and where: a line for each form, commit and machine."""
    alike: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in figures:
        alike.setdefault((figure["form"], figure.get("commit") or "", figure["machine"]), []).append(figure)
    lines = []
    for form in FORMS:
        runs = [(*which, mine) for which, mine in alike.items() if which[0] == form]
        for _, commit, where, mine in sorted(runs, key=lambda run: -len(run[3])):
            days = sorted(figure["at"][:10] for figure in mine)
            when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
            told = f"- The {form} form, {when}: {len(mine)} figures on {where}"
            told += f", of {commit}" if commit else ", of commits before those were kept"
            loads = [figure["load"] for figure in mine if "load" in figure]
            lines.append(told + (f", with a load of {min(loads):g} to {max(loads):g}." if loads else "."))
    return "\n".join(lines)


def table(figures: Sequence[Figure]) -> str:
    lines = ["| | what | is to be | short | long | holds |", "|---|---|---|---|---|---|"]
    for row, promise in ROWS.items():
        mine = [figure for figure in figures if figure["row"] == row]
        names = sorted({figure["name"] for figure in mine})
        if names:
            lines.append(f"| **{row}** | **{promise.title}** | | | | |")
        for name in names:
            forms = {figure["form"]: figure for figure in mine if figure["name"] == name}
            cells = [cell(forms.get(form)) for form in FORMS]
            best = forms.get("long") or forms["short"]
            lines.append(f"| | {name} | {goal(best)} | {' | '.join(cells)} | {VERDICTS[best['holds']]} |")
    return "\n".join(lines)


def goal(figure: Figure) -> str:
    bound = figure["goal"]
    if bound is None:
        return ""
    if isinstance(bound, str):
        return f"{bound} {figure['unit']}".strip()
    sign = "" if figure["value"] == bound or not bound else "<= "
    return f"{sign}{bound:g} {figure['unit'] if bound else ''}".strip()


def cell(figure: Figure | None) -> str:
    """The value; of many, in which the worst is it, how many, and the median."""
    if figure is None:
        return ""
    value = shown(figure["value"]) if figure["value"] else "0"
    told = f"{value} {figure['unit']}".strip()
    if figure.get("percentiles"):
        told += f" (median {shown(figure['percentiles'][5])}, {figure['count']:,} times)"
    return re.sub(r"(?<=\d) %", " %", told)

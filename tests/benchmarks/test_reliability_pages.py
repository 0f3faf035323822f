"""Figures of faults are judged by what is promised, and shown beside it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages
from benchmarks.reliability import chart, run, telling
from benchmarks.rows import read


def figure(row: str, name: str, value: float, goal: float | str | None = None, **more: Any) -> dict[str, Any]:
    holds = value <= goal if isinstance(goal, int | float) else None
    found = {"row": row, "name": name, "value": value, "unit": "", "goal": goal, "holds": holds, "form": "short"}
    return found | {"test": "", "at": "2026-01-01T00:00:00Z", "took": 1.0, "machine": "this one"} | more


R16 = [
    figure("R16", "disconnects while clocks jump", 0, 0),
    *(figure("R16", name, 2.5, 3.0, unit="s") for name in run.ROWS["R16"].needed[1:]),
]


def test_a_row_that_was_not_measured_is_missed() -> None:
    assert run.missed(R16, "short", ["R16"]) == []
    lines = run.missed(R16[1:], "short", ["R16"])
    assert lines == ["R16, clocks that jump: no figure 'disconnects while clocks jump' in the short form"]
    assert len(run.missed(R16, "long", ["R16"])) == len(R16), "of the other form"


NEEDED = [(row, pattern) for row in run.ROWS for pattern in run.ROWS[row].needed]


def test_each_figure_that_is_needed_is_missed_alone() -> None:
    """None of a whole set stands for another one."""
    every = [figure(row, pattern.replace("*", "some"), 1) for row, pattern in NEEDED]
    assert run.missed(every, "short") == []
    for number, (row, pattern) in enumerate(NEEDED):
        lines = run.missed(every[:number] + every[number + 1 :], "short")
        assert lines == [f"{row}, {run.ROWS[row].title}: no figure {pattern!r} in the short form"]


MEASURED = [each for each in read(telling.KEPT).rows if each["form"] == "short"]
NAMED_ROWS = ("R2", "R3", "R6", "R7", "R14", "R16")
ONLY_TOLD = ("the lives of 12 jobs over a lossy line", "an agent with another address is there again")


@pytest.mark.parametrize("row", NAMED_ROWS)
def test_each_figure_that_was_measured_is_missed(row: str) -> None:
    """Taken out of what is kept, but for what is told beside."""
    before = set(run.missed(MEASURED, "short"))
    for number, each in enumerate(MEASURED):
        if each["row"] == row and each["name"] not in ONLY_TOLD:
            assert set(run.missed(MEASURED[:number] + MEASURED[number + 1 :], "short")) - before, each["name"]


@pytest.mark.parametrize(
    ("value", "goal", "unit", "form", "lines"),
    [
        (1, 0, "", "short", 1),
        (9.9, 3.0, "s", "short", 0),
        (10.1, 3.0, "s", "short", 1),
        (3.1, 3.0, "s", "long", 1),
        (200, 100, "ms", "short", 0),
        (200, 100, "ms", "long", 1),
        (33, 32, "MiB", "short", 1),
    ],
)
def test_counts_are_exact_times_have_room_and_ratios_fail_nothing(
    value: float, goal: float, unit: str, form: str, lines: int
) -> None:
    found = [each | {"form": form} for each in R16]
    found.append(figure("R16", "another", value, goal, unit=unit, form=form))
    assert len(run.missed(found, form, ["R16"])) == lines


def test_figures_of_an_earlier_run_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "reliability.json"
    place.write_text(json.dumps({"figures": [figure("R18", "sizes", 1)]}))
    monkeypatch.setattr(run, "MEASURED", place)
    monkeypatch.setattr(run, "ROWS", {"R18": run.ROWS["R18"]})
    monkeypatch.setattr(run, "missed", lambda figures, form: [] if list(figures) else ["missing"])
    assert run.check(0) == 0
    assert run.check(1e10) == 1


def test_every_file_of_tests_is_run() -> None:
    named = {name for row in run.ROWS.values() for name in row.tests if "/" not in name}
    assert sorted([*named, *run.unnamed()]) == sorted(place.stem for place in run.TESTS.glob("test_*.py"))
    assert [name for row in run.ROWS.values() for name in row.tests if not (run.TESTS / f"{name}.py").exists()] == []


def test_pictures_are_svg_with_a_line_for_each_figure() -> None:
    many = figure("R4", "all agents are back", 3.0, 10.0, unit="s", form="long") | {
        "count": 200,
        "percentiles": [0.1 * n for n in range(1, 12)],
    }
    for draw, words in ((chart.bars, "3 of 10 s"), (chart.spreads, "200 of the long form")):
        drawn = draw([*R16, many])
        assert words in drawn
        assert ET.fromstring(drawn).tag.endswith("svg")
        assert ET.fromstring(draw([])).tag.endswith("svg")


def test_the_table_has_both_forms_beside_the_goal() -> None:
    found = [*R16, R16[0] | {"form": "long", "value": 1, "holds": False}]
    told = telling.whole(found)
    assert "| | disconnects while clocks jump | 0 | 0 | 1 | **no** |" in told
    assert "| | latest end of a timeout | <= 3 s | 2.50 s |  | yes |".replace("2.50", "2.5") in told
    assert "this one" in told
    line = f"| R16 | clocks that jump | {len(R16)} | 1 | disconnects while clocks jump: 1, to be 0 (long) |"
    assert line in telling.short(found)


def test_figures_tell_of_which_commit_and_load_they_are() -> None:
    found = [each | {"commit": "c0ffee", "load": load} for each, load in zip(R16, (1.5, 8.0, 2.0), strict=False)]
    assert telling.about(found) == (
        "- The short form, 2026-01-01: 3 figures on this one, of c0ffee, with a load of 1.5 to 8."
    )


def test_the_pages_are_those_of_the_kept_figures() -> None:
    kept = read(telling.KEPT).rows
    assert pages.between(telling.PAGE.read_text("utf-8"), telling.MARK) == telling.whole(kept).strip()
    short = pages.between(telling.SHORT_PAGE.read_text("utf-8"), telling.SHORT_MARK)
    assert short == telling.short(kept).strip()
    for name, draw in telling.IMAGES.items():
        assert (pages.IMAGES / name).read_text() == draw(kept)

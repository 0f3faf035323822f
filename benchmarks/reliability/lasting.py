"""How long the tests of each promise take: the short form's, as they took it, and what is expected of the long form's.

Belongs here: adding up, and the table of it. Does not: what is promised (promised.py), and failing anybody: a slow
machine takes longer.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import TIMES
from promised import ROWS

CEILING_SECONDS = 480.0
"""Of the short forms, side by side."""
OTHERS = "others"
"""Tests of this directory that no row names."""
SHORTER = {
    "test_history_is_explained": ("PROUTER_HISTORY_SECONDS", 3600.0),
    "../proved/test_nothing_is_lost_in_any_order": ("PROUTER_MODEL_SECONDS", 480.0),
    "test_a_lost_link_loses_no_job": ("PROUTER_CUTS", 10000.0),
    "test_a_router_that_dies_loses_nothing": ("PROUTER_AGENTS", 200.0),
    "test_bytes_arrive_whole_or_not_at_all": ("PROUTER_LOSSY_GIB", 100.0),
    "test_spoiled_input_hurts_nobody_else": ("PROUTER_SPOILED_TIMES", 500.0),
    "../rpc/test_fuzz": ("PROUTER_TEST_FUZZ", 10_000_000.0),
    "test_a_soak_leaves_nothing_behind": ("PROUTER_SOAK_SECONDS", 3600.0),
}
"""Long forms that can be told to be shorter, by which variable, and its default."""


def table(seconds: Mapping[str, float], workers: int) -> list[str]:
    """In lines: how long each row took, and all of them."""
    rows: dict[str, dict[str, float]] = defaultdict(dict)
    for file, took in seconds.items():
        rows[row_of(file)][file] = took
    lines = [
        f"{row:>6} {sum(files.values()):6.0f} s  " + ", ".join(f"{file} {took:.0f}" for file, took in longest(files))
        for row, files in sorted(rows.items(), key=lambda each: [*ROWS, OTHERS].index(each[0]))
    ]
    work = sum(seconds.values())
    wall = work / workers
    told = f"{work:.0f} s of work in the short form, {wall:.0f} s with {workers} at once"
    return [*lines, f"{told}, of {CEILING_SECONDS:.0f} s at most" + (": too long" if wall > CEILING_SECONDS else "")]


def longest(files: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(files.items(), key=lambda each: -each[1])


def row_of(file: str) -> str:
    """The first one that names it, so that no test counts twice."""
    return next((row for row, promise in ROWS.items() for name in promise.tests if Path(name).name == file), OTHERS)


def of_short_form(out: Path, since: float, figures: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by file of tests. Of tests elsewhere only those count that measured something (`figures`)."""
    found: dict[str, float] = defaultdict(float)
    for line in _lines(out / TIMES):
        if line["form"] == "short" and line["at"] >= since:
            found[_file(line["test"])] += line["took"]
    elsewhere: dict[str, float] = {}
    for figure in figures:
        if _file(figure["test"]) not in found:
            elsewhere[figure["test"]] = max(elsewhere.get(figure["test"], 0.0), figure.get("took", 0.0))
    for test, took in elsewhere.items():
        found[_file(test)] += took
    return dict(found)


def minutes(name: str) -> float:
    """About how long the long form of a file of tests takes here, as far as it is known."""
    most = max(row.tests.get(name, 0.0) for row in ROWS.values())
    variable, default = SHORTER.get(name, ("", 1.0))
    return most * float(os.environ.get(variable) or default) / default


def together(beside: Sequence[str], alone: Sequence[str], at_once: int) -> float:
    """Minutes, when each goes to whoever is free first, and those that are alone come afterwards."""
    free = [0.0] * at_once
    for name in beside:
        free.sort()
        free[0] += minutes(name)
    return max(free) + sum(map(minutes, alone))


def _file(test: str) -> str:
    return Path(test.partition("::")[0]).stem


def _lines(place: Path) -> Iterator[dict[str, Any]]:
    try:
        text = place.read_text("utf-8")
    except OSError:
        return
    yield from map(json.loads, text.splitlines())

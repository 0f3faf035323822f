"""What raw rows of the benchmark mean: medians, ratios within a round, goals, errors."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.proxies.figures import CHP, GOALS, NGINX, OURS, Goal, errors, ratio, ratios, systems
from benchmarks.rows import Keeper, Measured, read

CPU = Goal("get32", "cpu_us", CHP, "<=", 0.20)
RATE = Goal("get32", "rate", CHP, ">=", 5.0)
IDLE = Goal("idle", "mib", None, "<=", 12.0)
NO_ERROR = Goal("get256", "errors", None, "<=", 0.0)


def row(number: int, system: str, load: str = "get32", **figures: Any) -> dict[str, Any]:
    return {"round": number, "load": load, "system": system, "errors": 0, **figures}


def measured(*rows: dict[str, Any]) -> Measured:
    return Measured({"at": "2026-01-01"}, rows)


def test_a_median_is_that_of_the_rounds_of_one_load_and_system() -> None:
    found = measured(
        *(row(number, OURS, cpu_us=value) for number, value in enumerate((30.0, 90.0, 31.0))),
        row(0, OURS, load="new", cpu_us=500.0),
        row(0, CHP, cpu_us=600.0),
        row(3, OURS, broken="nothing was measured"),
    )
    assert found.median("cpu_us", load="get32", system=OURS) == 31.0
    assert found.median("cpu_us", load="up", system=OURS) is None


def test_a_ratio_is_made_within_each_round() -> None:
    """The machine was four times slower in the second round, for both; the medians alone would say 10 / 60."""
    found = measured(
        row(0, OURS, cpu_us=10.0),
        row(0, CHP, cpu_us=40.0),
        row(1, OURS, cpu_us=40.0),
        row(1, CHP, cpu_us=160.0),
        row(2, OURS, cpu_us=10.0),
        row(2, CHP, cpu_us=60.0),
    )
    assert ratios(found, "get32", "cpu_us", OURS, CHP) == [0.25, 0.25, pytest.approx(1 / 6)]
    assert ratio(found, "get32", "cpu_us", OURS, CHP) == 0.25


def test_a_round_in_which_one_of_both_is_missing_makes_no_ratio() -> None:
    found = measured(row(0, OURS, cpu_us=10.0), row(0, CHP, broken="x"), row(1, CHP, cpu_us=40.0))
    assert ratio(found, "get32", "cpu_us", OURS, CHP) is None
    assert CPU.holds(found) is None


def test_goals_hold_at_their_bound_and_not_beyond_it() -> None:
    there = [row(0, CHP, cpu_us=100.0, rate=1000.0), row(0, OURS, cpu_us=20.0, rate=5000.0)]
    assert CPU.holds(measured(*there)) is True
    assert RATE.holds(measured(*there)) is True
    there[1] |= {"cpu_us": 20.1, "rate": 4999.0}
    assert CPU.holds(measured(*there)) is False
    assert RATE.holds(measured(*there)) is False
    assert IDLE.holds(measured(row(0, OURS, load="idle", mib=12.0))) is True
    assert IDLE.holds(measured(row(0, OURS, load="idle", mib=12.1))) is False


def test_one_error_in_any_round_misses_the_goal_of_none() -> None:
    rounds = [row(number, OURS, load="get256", rate=1.0) for number in range(5)]
    assert NO_ERROR.holds(measured(*rounds)) is True
    rounds[3]["errors"] = 1
    assert NO_ERROR.holds(measured(*rounds)) is False


def test_errors_are_told_of_every_system_and_of_loads_that_could_not_be_measured() -> None:
    found = measured(
        row(0, NGINX, errors=3),
        row(1, NGINX, errors=2),
        row(0, OURS, load="up", errors=1, broken="only 0.5 GiB came"),
        row(1, OURS, load="up"),
        row(0, CHP),
    )
    assert errors(found) == [
        "nginx x2, GET over 32 connections: 5 errors in 2 rounds",
        "prouter (uvloop), 1 GiB up: 1 errors in 2 rounds, the first: only 0.5 GiB came",
    ]


def test_what_is_compared_leaves_out_what_is_paid_for_when_it_is_used() -> None:
    found = measured(row(0, "direct"), row(0, OURS), row(0, f"{OURS}, access log"))
    assert systems(found) == ["direct", OURS]


def test_every_line_of_the_goals_is_there_once() -> None:
    assert len(GOALS) == len(set(GOALS)) == 17


def test_rows_are_on_disk_as_they_come(tmp_path: Any) -> None:
    """A run that breaks has left what it measured."""
    file = tmp_path / "new" / "rows.jsonl"
    keeper = Keeper(file, {"at": "today"})
    keeper.add(row(0, OURS, cpu_us=1.5))
    assert read(file) == keeper.measured()
    keeper.add(row(1, OURS, cpu_us=2.5))
    assert read(file).median("cpu_us") == 2.0
    assert read(file).about == {"at": "today"}

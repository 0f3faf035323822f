"""A long run takes the files of its rows, those that measure alone last, and goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.reliability import lasting, promised, run

WELL = "import pathlib\ndef test_it(): pathlib.Path({place!r}).open('a').write({name!r} + ' ')\n"
BROKEN = "def test_it(): assert False\n"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ran, in a file."""
    tests, printed, place = tmp_path / "tests", tmp_path / "printed", tmp_path / "ran"
    tests.mkdir()
    (tests / "pytest.ini").write_text("[pytest]\n")
    for name in ("test_alone", "test_beside"):
        (tests / f"{name}.py").write_text(WELL.format(place=str(place), name=name))
    (tests / "test_broken.py").write_text(BROKEN)
    rows = {
        "A": promised.Row("alone", {"test_alone": 9}, needed=(), alone=True),
        "B": promised.Row("beside", {"test_beside": 1, "test_broken": 2}, needed=()),
    }
    monkeypatch.setattr(run, "TESTS", tests)
    monkeypatch.setattr(run, "PRINTED", printed)
    monkeypatch.setattr(run, "DONE", printed / "done.json")
    monkeypatch.setattr(run, "MEASURED", tmp_path / "reliability.json")
    monkeypatch.setattr(run, "ROWS", rows)
    monkeypatch.setattr(run, "missed", lambda figures, form, rows: [])
    return place


async def test_a_run_goes_on_where_it_was(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run.measure(["A", "B"], 2, resume=False) == 1
    assert ran.read_text().split() == ["test_beside", "test_alone"]
    told = capsys.readouterr().out
    assert "FAILED" in told
    about = json.loads((run.PRINTED / "run.json").read_text())
    assert f"of {about['commit']}, load " in told
    assert about["load"]["mean"] <= about["load"]["most"]
    (run.TESTS / "test_broken.py").write_text(BROKEN.replace("assert False", "pass"))
    assert await run.measure(["A", "B"], 2, resume=True) == 0
    assert ran.read_text().split() == ["test_beside", "test_alone"], "what went well is left out"


def test_what_the_short_form_took_is_added_up_by_row(tmp_path: Path) -> None:
    parts = [("faults/test_clocks_that_jump_change_nothing.py::a", "short", 100, 2.0)] * 2
    parts += [("faults/test_a_lost_link_loses_no_job.py::a", "short", 100, 9.0)]
    parts += [("faults/test_a_lost_link_loses_no_job.py::a", "short", 1, 50.0)]  # of an earlier run
    parts += [("faults/test_a_lost_link_loses_no_job.py::a", "long", 100, 50.0)]
    lines = [dict(zip(("test", "form", "at", "took"), part, strict=True)) for part in parts]
    (tmp_path / lasting.TIMES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = [{"test": "proved/test_of_the_model.py::a", "took": took} for took in (3.0, 5.0)]
    figures += [{"test": "faults/test_a_lost_link_loses_no_job.py::a", "took": 40.0}]  # and told above
    took = lasting.of_short_form(tmp_path, 50, figures)
    assert took == {
        "test_clocks_that_jump_change_nothing": 4.0,
        "test_a_lost_link_loses_no_job": 9.0,
        "test_of_the_model": 5.0,
    }
    told = lasting.table(took, 3)
    assert [line.split()[:2] for line in told[:-1]] == [["R1", "9"], ["R16", "4"], ["others", "5"]]
    assert told[-1] == "18 s of work in the short form, 6 s with 3 at once, of 480 s at most"
    assert "too long" in lasting.table({"test_of_the_model": 2000.0}, 3)[-1]


def test_the_longest_begins_first_and_is_as_long_as_it_is_told_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    cut, asked = "test_a_lost_link_loses_no_job", "test_history_is_explained"
    assert run.longest_first([cut, asked]) == [asked, cut]
    monkeypatch.setenv("PROUTER_HISTORY_SECONDS", "60")
    assert run.longest_first([cut, asked]) == [cut, asked]
    assert lasting.together([cut, asked], [], 2) == lasting.minutes(cut)

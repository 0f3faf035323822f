"""A long run takes the files of its rows, those that measure alone last, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reliability import promised, run

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
    assert "FAILED" in capsys.readouterr().out
    (run.TESTS / "test_broken.py").write_text(BROKEN.replace("assert False", "pass"))
    assert await run.measure(["A", "B"], 2, resume=True) == 0
    assert ran.read_text().split() == ["test_beside", "test_alone"], "what went well is left out"

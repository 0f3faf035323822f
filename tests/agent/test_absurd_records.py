"""A record of a job with numbers that can not be is torn, or what is wrong in it is left out: the agent starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prouter.agent.jobs.kept import Kept
from prouter.agent.jobs.records import LAUNCH, START, JobDirectory, Launch, Records
from prouter.agent.jobs.runs import Run
from prouter.agent.jobs.set_aside import NOBODY
from prouter.errors import Conflict
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, JobState

pytestmark = pytest.mark.as_user

ABSURD = (float("inf"), float("nan"), 10**400)
RECORD = JobRecord(JobUid("7" * 32), "absurd", NOBODY, JobState.FINISHED, finished_at=1.0)


def job_with(root: Path, change: dict[str, Any]) -> JobDirectory:
    directory = JobDirectory(root / RECORD.uid)
    directory.make()
    (directory.path / "record.json").write_text(json.dumps(RECORD.to_wire() | change))
    return directory


@pytest.mark.parametrize("number", ABSURD, ids=lambda number: str(number)[:5])
@pytest.mark.parametrize("field", ["revision", "finished_at", "exit_code", "pid"])
def test_it_is_set_aside(tmp_path: Path, field: str, number: float) -> None:
    job_with(tmp_path, {field: number})
    assert Records(tmp_path).read_all() == []
    assert [path.name for path in tmp_path.iterdir()] == [f"torn-{RECORD.uid}"]


@pytest.mark.parametrize("number", ABSURD, ids=lambda number: str(number)[:5])
@pytest.mark.parametrize("name", ["ended_at", "stopping"])
def test_what_stands_beside_it_is_left_out(tmp_path: Path, name: str, number: float) -> None:
    beside = {"ended_at": ["machine", number], "stopping": [15, number]}
    directory = job_with(tmp_path, {name: beside[name]})
    ((record, kept),) = Records(tmp_path).read_all()
    found = Kept(directory, kept)
    assert found.stopping is None
    assert found.age_seconds(record) > 0


@pytest.mark.parametrize("number", ABSURD[:2], ids=str)
def test_how_it_ran_is_not_known(tmp_path: Path, number: float) -> None:
    directory = job_with(tmp_path, {})
    (directory.path / LAUNCH).write_text(json.dumps({"ports": {}, "begins_at": number}))
    assert directory.read_launch() == Launch({}, 0)
    (directory.path / START).write_text(json.dumps({"args": ["true"], "limits": {"processes": number}}))
    with pytest.raises(Conflict):
        directory.last_start()


@pytest.mark.parametrize("earlier", [{"1": 7}, {"x": [1, 2, 3]}])
def test_what_is_known_of_earlier_runs_may_be_nothing(earlier: dict[str, Any]) -> None:
    assert Run.from_wire([5, earlier], begun=True).number == 1

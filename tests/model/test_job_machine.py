"""A job's life: which events are possible when, and what is always true of a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prouter.errors import JobInvalidState
from prouter.model import job_machine
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import JobRecord, JobState, Port, Reason, Sender


def fresh() -> JobRecord:
    return JobRecord(JobUid(new_uid()), "a job", Sender("CLIENT", "router", "r"), created_at=1.0)


def running() -> JobRecord:
    record = job_machine.begin_start(fresh(), None)
    record = job_machine.process_runs(record, 42, 2.0)
    return job_machine.serves(record, {"http": Port("http", 8080)})


def test_a_job_goes_from_new_to_running_to_finished() -> None:
    record = running()
    assert (record.state, record.pid, record.started_at) == (JobState.RUNNING, 42, 2.0)
    record = job_machine.ended(record, 3, Reason.EXITED, 5.0)
    assert (record.state, record.exit_code, record.reason, record.finished_at) == (JobState.FINISHED, 3, "exited", 5.0)
    assert record.pid is None
    assert not record.ports


def test_a_job_that_was_over_before_its_start_was_told_of_did_not_finish_before_it_started() -> None:
    assert job_machine.ended(running(), 0, Reason.EXITED, 1.9).finished_at == 2.0
    assert job_machine.ended(fresh(), None, Reason.AGENT_LOST, 1.9).finished_at == 1.9


@pytest.mark.parametrize("record", [running(), job_machine.ended(running(), 0, Reason.EXITED, 3.0)])
def test_starting_twice_is_refused(record: JobRecord) -> None:
    with pytest.raises(JobInvalidState, match="can not be started"):
        job_machine.begin_start(record, None)


def test_a_start_may_rename_the_job() -> None:
    assert job_machine.begin_start(fresh(), "better").name == "better"
    assert job_machine.begin_start(fresh(), None).name == "a job"


def test_a_job_that_has_ended_stays_as_it_ended() -> None:
    record = job_machine.ended(running(), None, Reason.TIMEOUT, 3.0)
    assert job_machine.ended(record, 0, Reason.EXITED, 9.0) is record


EVENTS = st.sampled_from(["start", "runs", "serves", "ended", "closed"])


@given(st.lists(EVENTS, max_size=12))
def test_invariants_hold_after_any_events(events: list[str]) -> None:
    record = fresh()
    for event in events:
        before = record
        try:
            match event:
                case "start":
                    record = job_machine.begin_start(record, None)
                case "runs":
                    record = job_machine.process_runs(record, 7, 1.0)
                case "serves":
                    record = job_machine.serves(record, {"http": Port("http", 1)})
                case "ended":
                    record = job_machine.ended(record, 0, Reason.EXITED, 2.0)
                case "closed":
                    record = job_machine.closed(record)
        except JobInvalidState:
            assert record is before
        assert record is before or record.revision == before.revision + 1
        assert before.state is not JobState.CLOSED or record is before
        assert (record.reason is not None) == (record.finished_at is not None)
        assert record.state is not JobState.FINISHED or record.reason is not None
        assert not record.ports or record.state is JobState.RUNNING


def test_a_record_survives_the_wire() -> None:
    record = replace(running(), labels={"team": "ä"}, name="\udcff")
    assert JobRecord.from_wire(record.to_wire()) == record


def test_an_originals_job_info_is_a_record_with_unknown_fields() -> None:
    sender = {"direction": "CLIENT", "uid": "u", "name": "n"}
    record = JobRecord.from_wire({"uid": "0" * 32, "name": "x", "state": "RUNNING", "sender": sender})
    assert (record.state, record.pid, record.created_at, dict(record.ports)) == (JobState.RUNNING, None, None, {})

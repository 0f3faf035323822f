"""The router's mirror of an agent's jobs: newest news wins, waits end, a comeback is reconciled."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from prouter.core.jobs.mirror import MAX_REMOVED, JobMirror, size_bytes
from prouter.errors import AgentNotFound, JobNotFound, RemoteProtocolError, Unavailable
from prouter.model import job_machine
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import JobRecord, JobState, Reason, Sender


def a_job() -> JobRecord:
    return JobRecord(JobUid(new_uid()), "", Sender("CLIENT", "r", ""), created_at=1.0)


def finished(record: JobRecord) -> JobRecord:
    return job_machine.ended(job_machine.begin_start(record, None), 0, Reason.EXITED, 1.0)


@pytest.fixture
def told() -> list[JobRecord]:
    return []


@pytest.fixture
def mirror(told: list[JobRecord]) -> JobMirror:
    return JobMirror(told.append)


def test_older_news_is_dropped(mirror: JobMirror, told: list[JobRecord]) -> None:
    record = a_job()
    mirror.apply(finished(record))
    mirror.apply(record)
    assert mirror.get(record.uid).state is JobState.FINISHED
    assert len(told) == 1


async def test_a_wait_ends_when_the_job_has_ended(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(mirror.wait_ended(record.uid, None))
        await asyncio.sleep(0)
        mirror.apply(finished(record))
    assert waiting.result().reason is Reason.EXITED


async def test_a_wait_with_a_timeout_gives_the_job_as_it_is(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    assert (await mirror.wait_ended(record.uid, 0.01)).state is JobState.NEW


async def test_a_job_removed_under_a_wait_is_finished_for_it(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(mirror.wait_ended(record.uid, None))
        await asyncio.sleep(0)
        mirror.apply(job_machine.closed(finished(record)))
    assert waiting.result().state is JobState.FINISHED
    with pytest.raises(JobNotFound):
        mirror.get(record.uid)


async def test_waits_are_told_when_the_agent_is_gone_for_good(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    waiting = asyncio.ensure_future(mirror.wait_ended(record.uid, None))
    await asyncio.sleep(0)
    mirror.fail(AgentNotFound("a"))
    with pytest.raises(AgentNotFound):
        await waiting


def test_what_the_same_boot_does_not_know_was_removed(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    mirror.reconcile([], same_boot=True)
    assert record.uid not in mirror


def test_what_a_newer_boot_does_not_know_is_lost(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    mirror.reconcile([], same_boot=False)
    assert mirror.get(record.uid).reason is Reason.AGENT_LOST


def test_what_a_newer_boot_tells_to_have_been_removed_is_not_lost(mirror: JobMirror) -> None:
    gone, lost = a_job(), a_job()
    for record in (gone, lost):
        mirror.apply(record)
    mirror.reconcile([], same_boot=False, removed=[gone])
    assert gone.uid not in mirror
    assert mirror.get(lost.uid).reason is Reason.AGENT_LOST


def test_what_a_newer_boot_says_counts_even_with_a_lower_revision(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(finished(record))
    mirror.reconcile([record.changed(name="of the new boot")], same_boot=False)
    assert mirror.get(record.uid).name == "of the new boot"


def test_a_restart_that_changed_nothing_is_no_news(mirror: JobMirror, told: list[JobRecord]) -> None:
    """A job ends once, and that is told once, however often its agent comes back."""
    record = finished(a_job())
    mirror.apply(record)
    for same_boot in (False, True):
        mirror.reconcile([replace(record)], same_boot=same_boot)
    assert told == [record]
    assert mirror.get(record.uid) == record


def test_finished_jobs_that_are_gone_after_a_restart_are_forgotten(mirror: JobMirror) -> None:
    record = finished(a_job())
    mirror.apply(record)
    mirror.reconcile([], same_boot=False)
    assert record.uid not in mirror


def test_older_news_of_a_removed_job_does_not_bring_it_back(mirror: JobMirror, told: list[JobRecord]) -> None:
    record = a_job()
    mirror.apply(record)
    mirror.apply(job_machine.closed(finished(record)))
    mirror.apply(finished(record))
    assert record.uid not in mirror
    assert [news.state for news in told] == [JobState.NEW, JobState.CLOSED]


def test_nor_when_the_removal_was_the_first_that_was_told(mirror: JobMirror, told: list[JobRecord]) -> None:
    record = a_job()
    mirror.apply(job_machine.closed(record))
    mirror.apply(record)
    assert record.uid not in mirror
    assert not told


def test_nor_when_the_removal_was_learned_from_a_new_link(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(record)
    mirror.reconcile([], same_boot=True)
    mirror.apply(finished(record))
    mirror.reconcile([finished(record)], same_boot=True)
    assert record.uid not in mirror


def test_what_a_newer_boot_has_counts_whatever_an_earlier_one_said(mirror: JobMirror) -> None:
    record = finished(a_job())
    mirror.apply(record)
    mirror.reconcile([], same_boot=False)
    mirror.reconcile([record], same_boot=False)
    assert record.uid in mirror


def test_a_uid_that_is_chosen_again_is_another_job(mirror: JobMirror, told: list[JobRecord]) -> None:
    first = a_job()
    again = replace(first, created_at=2.0)
    mirror.apply(first)
    mirror.apply(finished(first))
    mirror.apply(again)  # of the removal in between nobody told
    mirror.apply(finished(first))
    assert mirror.get(first.uid) == again
    assert [news.state for news in told] == [JobState.NEW, JobState.FINISHED, JobState.CLOSED, JobState.NEW]


def test_what_is_remembered_of_removals_is_bounded(mirror: JobMirror) -> None:
    first = a_job()
    mirror.apply(job_machine.closed(first))
    for _ in range(MAX_REMOVED):
        mirror.apply(job_machine.closed(a_job()))
    mirror.apply(first)
    assert first.uid in mirror


def test_a_list_that_does_not_fit_changes_nothing(told: list[JobRecord]) -> None:
    record = a_job()
    mirror = JobMirror(told.append, 3 * size_bytes(record))
    mirror.apply(record)
    told.clear()
    for same_boot in (True, False):
        with pytest.raises(RemoteProtocolError):
            mirror.reconcile([a_job() for _ in range(4)], same_boot=same_boot)
    assert list(mirror) == [record]
    assert not told


def test_what_fits_is_taken_whatever_was_there_before(told: list[JobRecord]) -> None:
    small, large = a_job(), replace(a_job(), name="x" * 5000)
    mirror = JobMirror(told.append, size_bytes(small) + size_bytes(large) + 10)
    mirror.reconcile([small, large], same_boot=False)
    changed = [small.changed(name="y" * 5000), large.changed(name="")]
    mirror.reconcile(changed, same_boot=True)
    assert list(mirror) == changed


def test_where_there_is_no_room_the_jobs_that_were_lost_first_are_forgotten_first(told: list[JobRecord]) -> None:
    lost, newer = [a_job() for _ in range(3)], [a_job() for _ in range(2)]
    mirror = JobMirror(told.append, 3 * size_bytes(a_job()))
    mirror.reconcile(lost, same_boot=False)
    mirror.reconcile(newer, same_boot=False)
    assert {record.uid for record in mirror} == {lost[2].uid, *(record.uid for record in newer)}
    assert mirror.get(lost[2].uid).reason is Reason.AGENT_LOST
    assert [record.uid for record in told if record.state is JobState.CLOSED] == [lost[0].uid, lost[1].uid]


@pytest.mark.parametrize("by_its_original", [True, False])
def test_how_long_a_job_is_lost_is_counted_by_no_clock_that_jumps(
    mirror: JobMirror, monkeypatch: pytest.MonkeyPatch, *, by_its_original: bool
) -> None:
    record, wall, now = a_job(), time.time(), time.monotonic()
    mirror.apply(record)
    mirror.lose_all() if by_its_original else mirror.reconcile([], same_boot=False)
    monkeypatch.setattr(time, "time", lambda: wall + 7200)
    mirror.forget_lost(3600)
    assert mirror.get(record.uid).reason is Reason.AGENT_LOST
    monkeypatch.setattr(time, "time", lambda: wall - 7200)
    monkeypatch.setattr(time, "monotonic", lambda: now + 3700)
    mirror.forget_lost(3600)
    assert record.uid not in mirror


@pytest.mark.parametrize("ends_first", [False, True])
async def test_a_removal_that_the_agent_answered_is_done_although_the_router_ends(
    mirror: JobMirror, told: list[JobRecord], ends_first: bool
) -> None:
    record = a_job()
    mirror.apply(record)
    if ends_first:
        mirror.fail(Unavailable("the router is ending"))
    waiting = asyncio.ensure_future(mirror.wait_removed(record.uid, 60))
    await asyncio.sleep(0)
    mirror.fail(Unavailable("the router is ending"))
    await waiting
    assert record.uid not in mirror
    assert told[-1].state is JobState.CLOSED

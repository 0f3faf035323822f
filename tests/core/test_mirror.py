"""The router's mirror of an agent's jobs: newest news wins, waits end, a comeback is reconciled."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from prouter.core.jobs.mirror import MAX_REMOVED, JobMirror
from prouter.errors import AgentNotFound, JobNotFound
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


def test_what_a_newer_boot_says_counts_even_with_a_lower_revision(mirror: JobMirror) -> None:
    record = a_job()
    mirror.apply(finished(record))
    mirror.reconcile([record.changed(name="of the new boot")], same_boot=False)
    assert mirror.get(record.uid).name == "of the new boot"


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

"""R3: what fails amid a restart or a removal leaves the job as it is then, and everybody who asked is told why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_clients import uid
from simulated_world import World
from staged import BRIEF, running, until

from prouter.agent.jobs.kept import Moment
from prouter.agent.jobs.records import JobDirectory
from prouter.errors import NoRoom, Unavailable
from prouter.model.jobs import JobRecord, Reason

LONG_SECONDS = 10_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    try:
        running(world, BRIEF)
        yield world
    finally:
        world.close()


def finished(world: World) -> Any:
    job = world.agents["a1"].registry.find(uid(BRIEF))
    until(world, lambda: job.shown.ended)
    return job


def asked(world: World, work: Any) -> asyncio.Task[Any]:
    return world.loop.begin(work, world.agents["a1"], "asked")


def test_a_run_that_never_began_ended_just_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job is not the oldest that finished, which goes first."""

    def full(*what: Any) -> None:
        raise NoRoom("the disk is full")

    job = finished(world)
    now = Moment.now()
    job.kept._ended_at = Moment(now.machine, now.seconds - LONG_SECONDS)
    assert job.kept.age_seconds(job.record) >= LONG_SECONDS
    monkeypatch.setattr(JobDirectory, "begin_run", full)
    restarted = asked(world, job.restart())
    until(world, restarted.done)
    assert isinstance(restarted.exception(), NoRoom)
    assert job.record.reason is Reason.START_FAILED
    assert job.kept.age_seconds(job.record) < LONG_SECONDS


def test_a_removal_that_fails_while_another_one_joins_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def delete() -> None:
        await asyncio.sleep(0.01)
        raise Unavailable("not now")

    async def keep(record: JobRecord) -> None:
        await asyncio.sleep(0.1)

    job = finished(world)
    monkeypatch.setattr(job, "delete", delete)
    both = [asked(world, job.remove()), asked(world, job.remove(keep))]
    until(world, lambda: all(task.done() for task in both))
    assert [type(task.exception()) for task in both] == [Unavailable, Unavailable]
    assert not job.removing

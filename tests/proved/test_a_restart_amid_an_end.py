"""R3: what comes while the end of a run is still being written neither overtakes it nor is taken for a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_clients import uid
from simulated_world import World
from staged import BRIEF, running, until

from prouter.model.jobs import JobRecord, JobState, Reason

DISK_SECONDS = 0.1
"""For the disk to take how a run ended: more than all takes that a restart does first."""


class Ending:
    """A job whose tree is gone, which is not on disk yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        running(world, BRIEF)
        self.job: Any = world.agents["a1"].registry.find(uid(BRIEF))
        self._save, self.job.kept.save = self.job.kept.save, self._saves
        until(world, lambda: self.job.record.ended)
        assert not self.is_on_disk()

    def is_on_disk(self) -> bool:
        return bool(self.job.directory.read().ended)

    async def _saves(self, record: JobRecord) -> None:
        if record.ended:
            await asyncio.sleep(DISK_SECONDS)
        await self._save(record)

    def ask(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.world.loop.begin(work, self.world.agents["a1"], "asked amid an end")


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[Ending]:
    world = World(tmp_path)
    try:
        yield Ending(world)
    finally:
        world.close()


def test_a_restart(ending: Ending) -> None:
    """It begins behind the end of the run before, and what belonged to that one is not the new one's."""
    job, told = ending.job, []
    watch = ending.world.agents["a1"].registry.watch()
    restarted = ending.ask(job.restart())
    until(ending.world, restarted.done)
    assert restarted.result().state is JobState.RUNNING
    told = [record.state for record in watch.take_all()]
    assert told == [JobState.RUNNING]
    waiting = ending.ask(job.wait_ended())
    ending.world.loop.run_for(0.1)
    assert not waiting.done(), "the new run is told to have ended with the old one"
    stopped = ending.ask(job.stop(15, 5.0))
    until(ending.world, stopped.done)
    assert (stopped.result().state, stopped.result().reason) == (JobState.FINISHED, Reason.STOPPED)


def test_an_end_waits_for_the_disk(ending: Ending) -> None:
    over = ending.ask(ending.job.end(Reason.STOPPED))
    until(ending.world, over.done)
    assert ending.is_on_disk()
    assert ending.job.record.reason is Reason.EXITED


def test_a_router_that_comes_is_told_what_is_on_disk(ending: Ending) -> None:
    watch = ending.world.agents["a1"].registry.watch()
    assert [record.state for record in watch.take_all()] == [JobState.RUNNING]
    until(ending.world, ending.is_on_disk)
    until(ending.world, lambda: [record.state for record in watch.take_all()] == [JobState.FINISHED])

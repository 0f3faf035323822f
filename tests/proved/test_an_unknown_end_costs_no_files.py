"""R5: where an agent can not read how a job of its earlier run ended, the job is lost, and what it made stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from simulated_clients import uid
from simulated_machine import Process, SimulatedDriver
from simulated_world import World
from staged import ONE, reborn, running

from prouter.agent.guard.running import GuardedTree
from prouter.agent.jobs.records import JobDirectory
from prouter.errors import Unavailable
from prouter.model.jobs import Reason


@pytest.fixture
def world(tmp_path: Path) -> Any:
    world = World(tmp_path, survive=True)
    try:
        yield world
    finally:
        world.close()


def test_that_can_not_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def recover(*asked: Any) -> None:
        raise Unavailable("not now")

    running(world, ONE)
    result = world.machines["a1"].disk / "jobs" / uid(ONE) / "sandbox" / "result"
    result.write_text("42")
    monkeypatch.setattr(SimulatedDriver, "recover", recover)
    reborn(world, "a1")
    world.loop.run_for(1)
    assert world.agents["a1"].registry.get(uid(ONE)).reason is Reason.AGENT_LOST
    assert result.read_text() == "42"


def test_how_it_was_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job goes on, once that can be read."""
    read, left = JobDirectory.last_start_of_run, [None] * 3

    def failing(directory: JobDirectory) -> Any:
        if left:
            left.pop()
            raise Unavailable("not now")
        return read(directory)

    running(world, ONE)
    monkeypatch.setattr(JobDirectory, "last_start_of_run", failing)
    reborn(world, "a1")
    world.loop.run_for(3)
    assert not world.agents["a1"].registry.get(uid(ONE)).ended
    assert world.machines["a1"].runs(uid(ONE))


def test_what_can_not_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has not ended before it has."""

    async def no(*asked: Any) -> bool:
        return False

    async def never(*asked: Any) -> None:
        raise TimeoutError

    world = World(tmp_path, survive=False)
    try:
        running(world, ONE)
        process = world.machines["a1"].processes[uid(ONE)]
        with monkeypatch.context() as stuck:
            stuck.setattr(Process, "end", lambda *asked: None)
            stuck.setattr(GuardedTree, "kill", never)
            stuck.setattr(GuardedTree, "exiting", no)
            reborn(world, "a1", 2.0)
            world.loop.run_for(40)
            registry = world.agents["a1"].registry
            assert not registry.get(uid(ONE)).ended
            assert (world.machines["a1"].disk / "jobs" / uid(ONE) / "sandbox").exists()
        process.end(-9, "agent-lost")
        world.loop.run_for(1)
        assert registry.get(uid(ONE)).reason is Reason.AGENT_LOST
    finally:
        world.close()

"""R22: an agent that dies amid a removal leaves no job at the router that nobody can remove any more."""

from __future__ import annotations

from pathlib import Path

from simulated_clients import uid
from simulated_world import World

NAMED = 1
"""A job of the agent a1."""


def test_a_job_that_its_agent_does_not_know_any_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.create(NAMED, "r1")
        world.loop.run_for(0.1)
        world.remove(NAMED, "r1", None)
        while (tmp_path / "a1" / "jobs" / uid(NAMED)).exists():
            world.loop.run_steps(1)
            world.loop.run_for(0.0005)
        world.crash_agent("a1")
        world.loop.run_for(0.1)
        world.start_agent("a1")
        world.loop.run_for(3)
        world.remove(NAMED, "r1", None)
        world.loop.run_for(3)
        assert next(asked.outcome for asked in world.history.calls) == "ok"
        assert uid(NAMED) not in world.routers["r1"].directory.entry("a1").mirror
        assert world.prove() == []
    finally:
        world.close()

"""R22: a create whose answer is lost, asked again, makes no second job on another agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated_clients import uid
from simulated_world import World

UNNAMED = 3
"""A job for any agent: the first of those that are there."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("soon", [0.011, 0.02, 0.021])
def test_asked_again_while_its_agent_is_away_it_waits_for_it(world: World, soon: float) -> None:
    world.create(UNNAMED, "r1")
    world.loop.run_for(soon)
    world.cut("a1", "r1")
    world.loop.run_for(0.002)
    world.create(UNNAMED, "r1")
    world.loop.run_for(5)
    world.create(UNNAMED, "r1")
    world.loop.run_for(1)
    first, second, third = (asked.outcome for asked in world.history.calls)
    assert (first, third) == ("link-closed", "ok")
    assert second in ("agent-away", "ok")
    assert world.prove() == []
    assert not world.truth().records.get(uid(UNNAMED), [])[1:]

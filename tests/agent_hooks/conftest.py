"""What these tests share: a router and an agent for all tests of a module, and what plugins told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from witness import Told

from prouter.testing import AgentDaemon, RouterDaemon
from prouter.testing.fleet import Fleet

for beside in ("originals", "job_output"):  # bare_peer and telling, modules there
    sys.path.append(str(Path(__file__).parent.parent / beside))


class Daemons(NamedTuple):
    router: RouterDaemon
    agent: AgentDaemon
    told: Told


@pytest.fixture(scope="module")
def daemons(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    """With the module's PLUGINS and SETTINGS for the agent; EXPECTED_ERRORS are parts of lines of its log."""
    module, place = request.module, tmp_path_factory.mktemp("daemons")
    fleet, told = Fleet(place), Told(place)
    fleet.expected_errors += module.EXPECTED_ERRORS
    try:
        router = fleet.router()
        yield Daemons(router, fleet.agent(router, *module.SETTINGS, environ=told.environ, plugins=module.PLUGINS), told)
    finally:
        fleet.close()
    assert not fleet.error_lines()


@pytest.fixture
async def place(daemons: Daemons) -> tuple[RouterDaemon, AgentDaemon]:
    """The daemons of the module, without jobs of earlier tests."""
    router, agent, told = daemons
    await router.agent_is_there(agent)
    async with router.client() as client:
        for job in await client.jobs():
            await job.remove()
    told.clear()
    return router, agent


@pytest.fixture
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Told:
    """Of the module's daemons, or of those that a test starts by itself."""
    if "place" in request.fixturenames:
        daemons: Daemons = request.getfixturevalue("daemons")
        return daemons.told
    return Told(tmp_path)

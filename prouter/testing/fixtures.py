"""The fixtures that need pytest-asyncio: a router, its agent and a job there, as a mark or `prouter_setup` says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from prouter.testing.wanted import Setup

if TYPE_CHECKING:
    from prouter.client import Job
    from prouter.testing.fleet import Fleet
    from prouter.testing.here import InProcess
    from prouter.testing.talking import AnyAgent, AnyRouter


@pytest_asyncio.fixture(loop_scope="function")
async def in_process(tmp_path: Path) -> AsyncIterator[InProcess]:
    """Routers and agents in this process, as many as a test likes. After it all are ended; an ERROR line fails it."""
    from prouter.testing.here import InProcess

    async with InProcess(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="function")
async def router(request: pytest.FixtureRequest, prouter_setup: Setup, in_process: InProcess) -> AnyRouter:
    """A router: a RouterHere in this process, a RouterDaemon where the setup says `processes`."""
    wanted = _wanted(request, prouter_setup)
    if not wanted.processes:
        return await in_process.router(*wanted.settings, plugins=wanted.plugins)
    fleet: Fleet = request.getfixturevalue("fleet")
    return fleet.router(*wanted.settings, plugins=wanted.plugins)


@pytest_asyncio.fixture(loop_scope="function")
async def agent(
    request: pytest.FixtureRequest, prouter_setup: Setup, in_process: InProcess, router: AnyRouter
) -> AnyAgent:
    """An agent, connected to `router`: an AgentHere, or an AgentDaemon where the setup says `processes`."""
    from prouter.testing.fleet import RouterDaemon
    from prouter.testing.here import RouterHere

    wanted = _wanted(request, prouter_setup)
    if isinstance(router, RouterHere):
        return await in_process.agent(router, *wanted.agent_settings, plugins=wanted.agent_plugins)
    assert isinstance(router, RouterDaemon), "the fixture router was replaced by something else"
    fleet: Fleet = request.getfixturevalue("fleet")
    made = fleet.agent(router, *wanted.agent_settings, plugins=wanted.agent_plugins)
    await router.agent_is_there(made, token=wanted.token)
    return made


@pytest_asyncio.fixture(loop_scope="function")
async def job(
    request: pytest.FixtureRequest, prouter_setup: Setup, router: AnyRouter, agent: AnyAgent
) -> AsyncIterator[Job]:
    """A job on `agent` that was not started yet: `await job.start(["program"])`."""
    async with router.client(_wanted(request, prouter_setup).token) as client:
        yield await client.create({"type": "uid", "uid": agent.uid}, request.node.name[:200])


def _wanted(request: pytest.FixtureRequest, setup: Setup) -> Setup:
    """The fixture's, then what module, class and test add."""
    marks = [mark for node in request.node.listchain() for mark in node.own_markers if mark.name == "prouter"]
    return Setup.of_marks(setup, [mark.kwargs for mark in marks])

"""An agent with cgroups, where this machine has them for us, and one without."""

from __future__ import annotations

from typing import Any

import pytest
from limited import CGROUPS, Place

from prouter.testing import Fleet


@pytest.fixture(params=CGROUPS)
async def place(fleet: Fleet, request: pytest.FixtureRequest) -> Any:
    router = fleet.router()
    agent = fleet.agent(router, f"jobs.cgroups={request.param}")
    await router.agent_is_there(agent)
    async with router.client() as client:
        yield Place(router, agent, client)

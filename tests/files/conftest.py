"""A router, an agent and a job whose files the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from filing import Filing

from prouter.testing import Fleet


@pytest.fixture
async def filing(fleet: Fleet) -> AsyncIterator[Filing]:
    router, agent = await fleet.pair()
    async with router.client() as client:
        yield Filing(router, agent, await client.create({"type": "uid", "uid": agent.uid}, "files"))

"""A router, an agent and a job whose files are looked at and moved about."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from storing import Store

from prouter.testing import Fleet


@pytest.fixture
async def store(fleet: Fleet) -> AsyncIterator[Store]:
    router, agent = await fleet.pair()
    async with router.client() as client:
        yield Store(router, agent, await client.create({"type": "uid", "uid": agent.uid}, "files"))

"""Explanations where the agent is an original: what the router decides is told, what nobody kept is 501."""

from __future__ import annotations

import pytest
from imitations import Originals

from prouter.client.client import RequestFailed
from prouter.testing import Fleet, eventually


async def test_a_new_job_is_explained_and_one_that_is_there_politely_not(fleet: Fleet, originals: Originals) -> None:
    router = fleet.router()
    host, port = router.address("server")
    agent = originals.agent(router=f"{host}:{port}", token=router.agent_token)
    locator = {"type": "uid", "uid": agent.uid}
    async with router.client() as client:
        await eventually(client.agents)
        found = await client.explain(locator)
        assert (found["chosen"], found["driver"]) == (agent.uid, None)
        assert not agent.lines("CALLED job_create")
        job = await client.create(locator)
        with pytest.raises(RequestFailed, match="original pAgent, which keeps no record") as refused:
            await job.explain()
        assert refused.value.http_status == 501
        assert refused.value.problem["type"] == "urn:prouter:not-possible"

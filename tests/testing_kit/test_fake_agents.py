"""Agents that run nothing: many of them, as a plugin that decides about agents wants them."""

from __future__ import annotations

from typing import Any

import pytest

from prouter.client.client import RequestFailed
from prouter.errors import LinkError
from prouter.rpc.calls import CallContext
from prouter.testing import FakeAgent, RouterHere, eventually
from prouter.testing.fake_agent import crowd


async def test_a_hundred_agents_with_properties_capacity_and_jobs(router: RouterHere) -> None:
    agents = [
        FakeAgent(
            router,
            f"agent-{number}",
            properties={"rack": str(number % 10)},
            capacity={"jobs": 4},
            running=4 if number < 50 else number % 3,
        )
        for number in range(100)
    ]
    async with router.client() as client, crowd(agents):
        await eventually(lambda: len(router.services.agents.list()) == 100)
        shown = {agent["uid"]: agent for agent in await client.agents()}
        assert shown["agent-7"]["jobs"] == 4
        assert shown["agent-62"]["capacity"] == {"jobs": {"total": 4, "used": 2}}
        job = await client.create({"type": "labels", "match": {"rack": "7"}}, "job")
        chosen = str(job.info["agent"]["uid"])
        assert int(chosen.removeprefix("agent-")) % 10 == 7
        assert shown[chosen]["jobs"] == 0
    await eventually(lambda: not any(agent.connected for agent in router.services.agents.list()))


async def test_its_jobs_live_as_those_of_a_real_one(router: RouterHere) -> None:
    async with FakeAgent(router, name="fake") as agent, router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job", labels={"a": "b"})
        await job.start(["anything"])
        assert job.info["state"] == "RUNNING"
        assert job.info["ports"] == {"http": 9}
        await agent.ends(job.info["uid"], 3)
        assert (await job.wait()).info["exit_code"] == 3
        await job.restart()
        assert (await job.stop()).info["reason"] == "stopped"
        await job.remove()
        assert await client.jobs() == []
        assert {"prouter_create", "prouter_start", "prouter_stop", "prouter_remove"} <= set(agent.called)


async def test_what_a_router_calls_can_be_answered_otherwise(router: RouterHere) -> None:
    class Unwilling(FakeAgent):
        async def prouter_create(self, context: CallContext, *args: Any) -> Any:
            return {"nonsense": True}

    async with Unwilling(router) as agent, router.client() as client:
        with pytest.raises(RequestFailed, match="job record that is none"):
            await client.create({"type": "uid", "uid": agent.uid})


async def test_one_with_a_wrong_token_is_refused(router: RouterHere) -> None:
    with pytest.raises(LinkError):
        async with FakeAgent(router, token="wrong"):
            pass
    with pytest.raises(LinkError):
        async with crowd([FakeAgent(router), FakeAgent(router, token="wrong")]):
            pass


async def test_an_agent_that_drains_and_one_of_another_boot(router: RouterHere) -> None:
    async with FakeAgent(router, "same", draining=True), router.client() as client:
        with pytest.raises(RequestFailed):
            await client.create({"type": "uid", "uid": "same"})
        (shown,) = await client.agents()
        assert shown["draining"]

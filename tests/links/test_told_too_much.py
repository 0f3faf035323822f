"""An agent that tells of jobs without end fills no memory of the router: beyond `jobs.mirrored_bytes` its link ends."""

from __future__ import annotations

import asyncio

import pytest
from hand_made import HandMadeAgent, hello, record

from prouter.client import Client
from prouter.testing import eventually
from prouter.testing.fake_agent import linked

FEW = "jobs.mirrored_bytes=65536"


@pytest.mark.parametrize("when", ["at once", "one by one"])
async def test_an_agent_that_tells_of_too_many_jobs_is_cut(fleet, when: str) -> None:
    router = fleet.router(FEW)
    many = [record(f"job {number}") for number in range(100)]
    agent = HandMadeAgent(many if when == "at once" else ())
    async with linked(router.address("server"), hello("a", router.agent_token, boot="b", link=1), agent.methods) as rpc:
        if when == "one by one":
            await agent.watched.wait()
            telling = asyncio.gather(*(agent.tell(job["uid"]) for job in many), return_exceptions=True)
        async with asyncio.timeout(20):
            await rpc.wait_closed()
        if when == "one by one":
            await telling
    await eventually(lambda: "jobs.mirrored_bytes" in router.log)
    async with router.client() as client:
        assert len(await client.jobs()) <= 64


async def test_a_uid_without_end_is_none(fleet) -> None:
    router = fleet.router()
    agent = HandMadeAgent()
    async with linked(router.address("server"), hello("a", router.agent_token, boot="b", link=1), agent.methods) as rpc:
        await agent.watched.wait()
        await agent.tell("x" * 100_000)
        async with asyncio.timeout(20):
            await rpc.wait_closed()


async def test_an_agent_whose_jobs_fit_is_there_whatever_an_earlier_boot_of_it_had(fleet) -> None:
    router = fleet.router(FEW)
    door, token = router.address("server"), router.agent_token
    for boot in ("first", "second"):
        agent = HandMadeAgent([record(f"{boot} {number}") for number in range(40)])
        async with linked(door, hello("a", token, boot=boot, link=1), agent.methods), router.client() as client:

            async def all_are_there(boot: str = boot, client: Client = client) -> bool:
                return sum(job.info["uid"].startswith(boot) for job in await client.jobs()) == 40

            await eventually(all_are_there)


async def test_a_link_that_can_not_be_taken_leaves_the_one_before(fleet) -> None:
    router = fleet.router(FEW)
    door, token = router.address("server"), router.agent_token
    agent, crowded = HandMadeAgent([record("job")]), HandMadeAgent([record(f"job {number}") for number in range(100)])
    async with linked(door, hello("a", token, boot="b", link=1), agent.methods) as first:
        await eventually(lambda: "agent a (link 1" in router.log)
        async with linked(door, hello("a", token, boot="b", link=2), crowded.methods) as second, asyncio.timeout(20):
            await second.wait_closed()
        await agent.tell("another")
        async with router.client() as client:

            async def both_are_there() -> bool:
                return sorted(job.info["uid"] for job in await client.jobs()) == ["another", "job"]

            await eventually(both_are_there)
            assert (await client.agents())[0]["connected"]
        assert not first.closed

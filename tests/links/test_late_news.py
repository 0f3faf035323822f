"""News of jobs that come late change nothing that is newer; of those that are too many at once there is a gap."""

from __future__ import annotations

import asyncio
from typing import Any

from hand_made import HandMadeAgent, hello, record

from prouter.client import Job
from prouter.pluginkit.limits import NEWS_KEPT
from prouter.rpc.calls import CallContext
from prouter.testing import eventually
from prouter.testing.fake_agent import linked

UID = "a" * 32


async def test_an_answer_that_comes_after_the_news_of_the_removal_does_not_bring_the_job_back(fleet) -> None:
    router = fleet.router()
    agent = HandMadeAgent()
    address, token = router.address("server"), router.agent_token

    async def stop(context: CallContext, *args: Any) -> Any:
        await agent.tell(UID, 3, "CLOSED")
        await agent.tell("b" * 32)
        return record(UID, 2, "FINISHED")

    agent.methods.add("prouter_stop", stop)
    async with router.client() as client, linked(address, hello("a", token, boot="b", link=1), agent.methods):
        await agent.watched.wait()
        await agent.tell(UID)
        await eventually(client.jobs)
        (job,) = await client.jobs()
        assert isinstance(job, Job)
        await job.stop()
        assert [found.info["uid"] for found in await client.jobs()] == ["b" * 32]


async def test_who_is_told_of_more_at_once_than_is_kept_is_told_of_the_gap(fleet) -> None:
    router = fleet.router("events.kept=100000")
    many = [record(f"{number:032x}") for number in range(NEWS_KEPT + 500)]
    agent = HandMadeAgent(many)
    told = []
    async with (
        asyncio.timeout(30),
        router.client() as client,
        client.session.get(f"{client.url}/events") as events,
        linked(router.address("server"), hello("a", router.agent_token, boot="b", link=1), agent.methods),
    ):
        async for line in events.content:
            if line.startswith(b"event: "):
                told.append(line[7:-1].decode())
            elif line.startswith(b"data: ") and told[-1] == "agent":
                break
    assert told.count("gap") == 1, "what was dropped is told of once, where it was"
    assert told[0] == "gap"
    assert told.count("job") < len(many)
    assert told[-2:] == ["job", "agent"]

"""Answers travel beside the news of the same jobs: one that comes late changes nothing that is newer."""

from __future__ import annotations

from typing import Any

from hand_made import HandMadeAgent, hello, linked, record

from prouter.client import Job
from prouter.rpc.calls import CallContext
from prouter.testing import eventually

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

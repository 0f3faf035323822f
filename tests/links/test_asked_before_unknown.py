"""What an agent did not tell of yet, it is asked for before a client is told that there is no such job or port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hand_made import HandMadeAgent, hello, record

from prouter.client import Client
from prouter.model.ids import JobUid, new_uid, uid_digest
from prouter.rpc.calls import CallContext
from prouter.testing import Fleet, eventually
from prouter.testing.fake_agent import linked


class Reticent(HandMadeAgent):
    """Tells of its jobs only when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.has: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.methods.add("prouter_job", self._job)

    def makes(self, **fields: Any) -> str:
        uid = new_uid()
        self.has[uid_digest(JobUid(uid))] = record(uid) | fields
        return uid

    async def _job(self, context: CallContext, digest: str) -> Any:
        self.asked += 1
        await self.may_answer.wait()
        return self.has.get(digest)


@asynccontextmanager
async def reticent(fleet: Fleet) -> AsyncIterator[tuple[Client, Reticent]]:
    router, agent = fleet.router("pipes.wait_seconds=0.3"), Reticent()
    said = hello("one", router.agent_token, boot="one", link=1)
    async with router.client() as client, linked(router.address("server"), said, agent.methods):
        await agent.watched.wait()
        await eventually(client.agents, what="the agent")
        yield client, agent


async def get(client: Client, path: str) -> tuple[int, str]:
    async with client.session.get(client.url + path) as answer:
        return answer.status, await answer.text()


async def test_a_job_and_a_port_that_nobody_told_of_are_there_once_they_are_asked_for(fleet: Fleet) -> None:
    async with reticent(fleet) as (client, agent):
        for path in ("/jobs/one/{}/info", "/jobs/{}/info"):
            assert (await get(client, path.format(agent.makes())))[0] == 200
        ports = [{"name": "http", "number": 1}]
        for path in ("/jobs/one/{}/http/x", "/jobs/{}/http/x"):
            served = path.format(agent.makes(revision=2, state="RUNNING", ports=ports))
            status, text = await get(client, served)
            assert status >= 500, (text, "the job and its port are there, and no data connection to it")
        new = agent.makes()
        status, text = await get(client, f"/jobs/one/{new}/http/x")
        assert (status, "port not found" in text) == (404, True)
        agent.has[uid_digest(JobUid(new))] = record(new, 2, "RUNNING") | {"ports": ports}
        before = agent.asked

        async def is_served() -> bool:
            return (await get(client, f"/jobs/one/{new}/http/x"))[0] != 404

        await eventually(is_served, what="the port of a job about which the agent was asked a moment ago")
        assert agent.asked == before + 1


async def test_what_is_not_there_is_not_found_and_seldom_asked_for(fleet: Fleet) -> None:
    async with reticent(fleet) as (client, agent):
        gone = new_uid()
        for path in (f"/jobs/one/{gone}/info", f"/jobs/one/{gone}/http/x", f"/jobs/one/{gone}/http/y"):
            found = await asyncio.gather(*(get(client, path) for _ in range(10)))
            assert {status for status, _ in found} == {404}
        assert agent.asked <= 10
        agent.may_answer.clear()
        status, text = await get(client, f"/jobs/one/{new_uid()}/info")
        assert (status, "does not say" in text, '"retryable": true' in text) == (503, True, True), text
        assert (await get(client, f"/jobs/{new_uid()}/info"))[0] == 404, "one that is silent is in nobody's way"

"""A uid alone names the job of the agent that told of it first; who claims it later has it under its own path only."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from hand_made import HandMadeAgent, hello

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.model.ids import new_uid
from prouter.testing import Fleet, RouterDaemon, eventually
from prouter.testing.fake_agent import linked

JOB = new_uid()


class Claimer:
    """An agent by hand, and its link."""

    def __init__(self, router: RouterDaemon, uid: str) -> None:
        self.uid = uid
        self.agent = HandMadeAgent()
        self._link = linked(
            router.address("server"), hello(uid, router.agent_token, boot=uid, link=1), self.agent.methods
        )
        self._open = AsyncExitStack()

    async def join(self, client: Client) -> None:
        await self._open.enter_async_context(self._link)
        await eventually(lambda: self.is_connected(client))

    async def leave(self) -> None:
        await self._open.aclose()

    async def is_connected(self, client: Client) -> bool:
        return any(agent["uid"] == self.uid and agent["connected"] for agent in await client.agents())

    async def claims(self, client: Client, revision: int = 1, state: str = "RUNNING") -> None:
        await self.agent.tell(JOB, revision, state)

        async def is_known() -> bool:
            known = [job.info["agent"]["uid"] for job in await client.jobs()]
            return (self.uid in known) == (state != "CLOSED")

        await eventually(is_known)


async def owner(client: Client) -> str:
    found = await client.request("GET", f"/jobs/{JOB}/info")
    return str(found["agent"]["uid"])


async def test_a_claim_of_another_agents_job_changes_nothing_and_is_told(fleet: Fleet) -> None:
    router = fleet.router()
    thief, honest = Claimer(router, "thief"), Claimer(router, "honest")
    async with router.client() as client:
        await thief.join(client)  # so that it is the first of all agents
        await honest.join(client)
        await honest.claims(client)
        events = client.session.get(f"{client.url}/events")
        async with events as following:
            await thief.claims(client, revision=9)
            assert await owner(client) == "honest"
            told = b""
            while b"event: failure" not in told or not told.endswith(b"\n\n"):
                told += await following.content.readany()
        assert f'"about":"{JOB}"'.encode() in told
        assert "agent 'thief' tells of it, too" in router.log
        theirs = await client.request("GET", f"/jobs/thief/{JOB}/info")
        assert theirs["path"] == f"/jobs/thief/{JOB}", "it can be seen and removed there"
        await honest.leave()
        await eventually(lambda: "agent honest (link 1" in router.log and "is away" in router.log)
        with pytest.raises(RequestFailed, match="'honest' is away"):
            await owner(client)
        await thief.leave()


async def test_who_claimed_it_next_has_it_once_the_first_has_it_no_more(fleet: Fleet) -> None:
    router = fleet.router()
    first, second = Claimer(router, "first"), Claimer(router, "second")
    async with router.client() as client:
        await first.join(client)
        await second.join(client)
        await first.claims(client)
        await second.claims(client)
        await first.claims(client, revision=2, state="CLOSED")
        assert await owner(client) == "second"
        await second.claims(client, revision=2, state="CLOSED")
        with pytest.raises(RequestFailed, match="not found"):
            await owner(client)
        await first.leave()
        await second.leave()


async def test_a_uid_that_leads_elsewhere_is_none(fleet: Fleet) -> None:
    router = fleet.router()
    thief = Claimer(router, "thief")
    async with router.client() as client:
        await thief.join(client)
        await thief.agent.tell(f"../honest/{JOB}")
        await eventually(lambda: "broke the protocol: a job's uid is none" in router.log)
        await thief.leave()
        assert await client.jobs() == []

"""An agent has one link to a router: which one stays when there are two, and what the other may still do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import pytest
from hand_made import HandMadeAgent, hello

from prouter.client.client import RequestFailed
from prouter.errors import LinkClosed, LinkError
from prouter.pipe.opening import open_pipe
from prouter.rpc.calls import CallContext
from prouter.rpc.methods import Methods
from prouter.testing import eventually
from prouter.testing.fake_agent import FakeAgent, linked

SECONDS = 20


async def closes(*rpcs: object) -> None:
    async with asyncio.timeout(SECONDS):
        for rpc in rpcs:
            await rpc.wait_closed()


async def test_a_newer_link_of_the_same_boot_replaces_the_old_one_at_once(fleet) -> None:
    router = fleet.router("links.takeover_timeout=60")
    first, second = HandMadeAgent(), HandMadeAgent()
    address, token = router.address("server"), router.agent_token
    async with router.client() as client, linked(address, hello("a", token, boot="b", link=1), first.methods) as old:
        await eventually(client.agents)
        async with linked(address, hello("a", token, boot="b", link=2), second.methods) as new:
            await closes(old)
            assert not new.closed
            (found,) = await client.agents()
            assert found["connected"]
            await second.tell("job of the new link")
            await eventually(client.jobs)
            connections = (await client.request("GET", "/connections"))["connections"]
            assert [shown["uid"] for shown in connections] == [new.connection_id]


async def test_an_older_link_that_comes_late_does_not_replace_a_newer_one(fleet) -> None:
    router = fleet.router()
    agent, late = HandMadeAgent(), HandMadeAgent()
    address, token = router.address("server"), router.agent_token
    async with router.client() as client, linked(address, hello("a", token, boot="b", link=2), agent.methods) as new:
        await eventually(client.agents)
        async with linked(address, hello("a", token, boot="b", link=1), late.methods) as old:
            await closes(old)
            assert not new.closed
        assert (await client.agents())[0]["connected"]


async def test_news_from_a_link_that_was_replaced_counts_no_more(fleet) -> None:
    router = fleet.router()
    first, second = HandMadeAgent(), HandMadeAgent()
    address, token = router.address("server"), router.agent_token
    async with router.client() as client, linked(address, hello("a", token, boot="b", link=1), first.methods) as old:
        await first.watched.wait()
        await first.tell("early job")
        await eventually(client.jobs)
        async with linked(address, hello("a", token, boot="b", link=2), second.methods):
            with contextlib.suppress(LinkClosed):
                while True:
                    await first.tell("stale job")
            await closes(old)
            await second.tell("fresh job")

            async def fresh() -> bool:
                return "fresh job" in [job.info["uid"] for job in await client.jobs()]

            await eventually(fresh)
            assert [job.info["uid"] for job in await client.jobs()] == ["fresh job"]
        assert (await client.agents()) != []


async def test_the_end_of_a_link_that_was_replaced_leaves_the_agent_connected(fleet) -> None:
    router = fleet.router()
    first, second = HandMadeAgent(), HandMadeAgent()
    address, token = router.address("server"), router.agent_token
    async with router.client() as client, linked(address, hello("a", token, boot="b", link=1), first.methods):
        await eventually(client.agents)
        async with linked(address, hello("a", token, boot="b", link=2), second.methods):
            async with asyncio.timeout(SECONDS):
                await second.watched.wait()
            await eventually(lambda: "a newer link replaces" in router.log)
            assert "is away" not in router.log
            assert (await client.agents())[0]["connected"]


async def test_another_run_with_the_same_uid_is_refused_while_the_first_one_answers(fleet) -> None:
    router = fleet.router("links.takeover_timeout=5")
    first = fleet.agent(router, "identity.uid='twin'")
    await router.agent_is_there(first)
    second = fleet.agent(router, "identity.uid='twin'", "identity.name='second'", "client.reconnect_delay=0.2")
    await eventually(lambda: second.log.count("linked to router") >= 2)
    async with router.client() as client:
        (found,) = await client.agents()
        assert found["name"] != "second"
        first.kill()

        async def second_is_there() -> bool:
            return [(a["name"], a["connected"]) for a in await client.agents()] == [("second", True)]

        await eventually(second_is_there)


async def test_another_run_with_the_same_uid_replaces_one_that_does_not_answer_for_2_s(fleet) -> None:
    router = fleet.router("links.ping_interval=60")
    first = fleet.agent(router, "identity.uid='twin'")
    await router.agent_is_there(first)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": "twin"}, "of the first")
        first.signal(signal.SIGSTOP)
        try:
            second = fleet.agent(router, "identity.uid='twin'", "identity.name='second'")
            begun = time.monotonic()
            await eventually(lambda: "a newer link replaces" in router.log, seconds=15)
            assert time.monotonic() - begun > 1
            (found,) = await client.agents()
            assert (found["name"], found["connected"]) == ("second", True)
            await job.refresh()
            assert job.info["reason"] == "agent-lost"
        finally:
            first.kill()
        assert second.log.count("linked to router") >= 1


async def test_a_router_has_one_link_to_an_agent_that_it_dials(fleet) -> None:
    agent = fleet.agent(None, "links.takeover_timeout=60")
    address, token = agent.address("server"), agent.token
    async with linked(address, hello("r", token, boot="b", link=0)) as old:
        (ticket,) = await old.call("pipe_tickets", 1, timeout_seconds=SECONDS)
        async with linked(address, hello("r", token, boot="b", link=0)) as new:
            await closes(old)
            assert isinstance(await new.call("job_count_current_connection", timeout_seconds=SECONDS), int)
            await a_ticket_of_an_old_link_opens_nothing(address, ticket)
            async with linked(address, hello("another", token, boot="c", link=0)) as other:
                assert await other.call("job_count_current_connection", timeout_seconds=SECONDS) == 0
                assert not new.closed


async def a_ticket_of_an_old_link_opens_nothing(address: tuple[str, int], ticket: str) -> None:
    try:
        transport, _ = await open_pipe(*address, ticket)
    except LinkError:
        return
    transport.set_protocol(asyncio.StreamReaderProtocol(reader := asyncio.StreamReader()))
    transport.resume_reading()
    async with asyncio.timeout(SECONDS):
        assert await reader.read() == b""
    transport.close()


async def test_another_run_of_a_router_is_refused_while_the_first_one_answers(fleet) -> None:
    agent = fleet.agent(None, "links.takeover_timeout=5")
    address, token = agent.address("server"), agent.token
    async with linked(address, hello("r", token, boot="one", link=0)) as first:
        async with linked(address, hello("r", token, boot="two", link=0)) as second:
            await closes(second)
        assert await first.call("job_count_current_connection", timeout_seconds=SECONDS) == 0


@pytest.mark.parametrize("fate", ["stopped", "killed"])
async def test_calls_over_a_link_that_ends_fail_and_do_not_hang(fleet, fate: str) -> None:
    router = fleet.router("links.ping_interval=0.3")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "waited for")
        agent.signal(signal.SIGSTOP)
        creating = asyncio.create_task(client.create({"type": "uid", "uid": agent.uid}, "never"))
        if fate == "killed":
            agent.kill()
        with pytest.raises(RequestFailed) as error:
            async with asyncio.timeout(SECONDS):
                await creating
        assert error.value.http_status in (404, 503)
        if fate == "stopped":
            agent.signal(signal.SIGCONT)
        assert job.path


class Pondering(FakeAgent):
    """Does not say whether it lives."""

    asked = False

    async def job_count_current_connection(self, context: CallContext) -> int:
        self.asked = True
        await asyncio.Event().wait()
        return 0


async def test_who_is_asked_whether_its_old_link_lives_holds_up_no_other_agent(fleet) -> None:
    router = fleet.router("links.takeover_timeout=60")
    second = HandMadeAgent()
    async with router.client() as client, Pondering(router, "a", boot="one") as first:
        await eventually(client.agents)
        async with linked(
            router.address("server"), hello("a", router.agent_token, boot="other", link=1), second.methods
        ):
            await eventually(lambda: first.asked)
            async with FakeAgent(router, "b"):

                async def is_there() -> bool:
                    return "b" in [agent["uid"] for agent in await client.agents()]

                await eventually(is_there, seconds=SECONDS)


async def test_a_router_that_is_asked_whether_its_old_link_lives_holds_up_no_other_router(fleet) -> None:
    agent = fleet.agent(None, "links.takeover_timeout=60")
    address, token = agent.address("server"), agent.token
    pondering, asked = Methods(), asyncio.Event()

    async def ponder(context: CallContext) -> None:
        asked.set()
        await asyncio.Event().wait()

    pondering.add("prouter_ping", ponder)
    async with linked(address, hello("r", token, boot="one", link=0), pondering):
        await eventually(lambda: "linked to router r " in agent.log)
        async with linked(address, hello("r", token, boot="other", link=0)):
            async with asyncio.timeout(SECONDS):
                await asked.wait()
            async with linked(address, hello("s", token, boot="b", link=0)):
                await eventually(lambda: "linked to router s " in agent.log, seconds=SECONDS)

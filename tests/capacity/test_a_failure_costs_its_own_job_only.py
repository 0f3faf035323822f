"""The queue beside agents, addresses and plugins that fail: who can be made is made, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from queueing import ask, create, info, placed, waiting

from prouter.client import Client
from prouter.errors import NoRoom
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, Sender
from prouter.rpc.calls import CallContext
from prouter.testing import FakeAgent, eventually
from prouter.testing.fake_agent import linked


class Cut(FakeAgent):
    """Makes a job and loses its link before it answers."""

    tells = True
    sender = ""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def prouter_create(self, context: CallContext, uid: Any, name: str, labels: Any, *more: Any) -> Any:
        record = JobRecord(JobUid(uid), name, Sender("CLIENT", self.sender, ""), created_at=1.0, asked=more[0])
        if self.tells:
            await self.tell(record)
        self.asked.set()
        await self.go.wait()
        self.jobs[record.uid] = record
        assert self.rpc is not None
        await self.rpc.close()

    def back(self, router: Any) -> FakeAgent:
        """The same agent, which was gone for a moment."""
        agent = FakeAgent(router, self.uid, capacity={"jobs": 1}, boot=self.hello.boot, link=2)
        agent.jobs.update(self.jobs)
        return agent


async def test_a_job_that_was_made_when_the_link_broke_is_placed_and_does_not_wait_for_its_own_slot(fleet) -> None:
    router = fleet.router()
    async with router.client() as client:
        uid = await waiting(client)
        placing = asyncio.create_task(placed(client, uid))
        await ask(client, "GET", "/info")
        async with Cut(router, "cut", capacity={"jobs": 1}) as agent:
            await eventually(lambda: _is_known(client, uid))  # to who names it; the one that waits is told nothing yet
            agent.go.set()
            await eventually(lambda: _away(client))
            async with agent.back(router):
                assert await placing == "cut"


async def _is_known(client: Client, uid: str) -> bool:
    return (await info(client, uid))["agent"] is not None


async def test_a_job_that_was_removed_and_is_made_all_the_same_is_removed_when_it_shows_up(fleet) -> None:
    router = fleet.router()
    async with router.client() as client:
        for again in (False, True):
            uid = await waiting(client)
            agent = Cut(router, f"cut{again}", capacity={"jobs": 1})
            agent.tells = False
            async with agent:
                assert agent.rpc is not None
                agent.sender = agent.rpc.peer["auth"]["uid"]
                async with asyncio.timeout(20):
                    await agent.asked.wait()
                removing = asyncio.create_task(ask(client, "DELETE", f"/jobs/{uid}"))
                await ask(client, "GET", "/info")
                agent.go.set()
                assert (await removing).status == 200
            assert (await ask(client, "GET", f"/jobs/{uid}")).status == 404
            assert list(agent.jobs) == [uid]
            if again:
                assert (await create(client, uid=uid)).status in (202, 503)
            async with agent.back(router) as there:
                if again:
                    answer = await create(client, uid=uid)
                    assert answer.status in (200, 202)
                    assert await placed(client, uid) == there.uid
                    assert "prouter_remove" not in there.called
                    await ask(client, "DELETE", f"/jobs/{uid}")
                await eventually(lambda there=there: not there.jobs)
                assert (await ask(client, "GET", f"/jobs/{uid}")).status == 404
            await eventually(lambda: _away(client))


async def test_an_agent_that_never_comes_back_is_waited_for_until_it_is_forgotten(fleet) -> None:
    router = fleet.router("jobs.orphan_timeout=2")
    async with router.client() as client:
        uid = await waiting(client)
        agent = Cut(router, "cut", capacity={"jobs": 1})
        agent.tells = False
        async with agent:
            async with asyncio.timeout(20):
                await agent.asked.wait()
            agent.go.set()
            await eventually(lambda: _away(client))
        async with FakeAgent(router, "other", capacity={"jobs": 2}):
            behind = await create(client)
            assert (behind.status, behind.json["agent"]["uid"]) == (200, "other"), "those behind go on"
            assert await placed(client, uid) == "other", "once it is forgotten"


async def test_what_an_agent_answers_beyond_all_numbers_leaves_the_job_removable(fleet) -> None:
    class Strange(FakeAgent):
        async def prouter_create(self, context: CallContext, uid: Any, *arguments: Any) -> Any:
            record = JobRecord(JobUid(uid), "", Sender("CLIENT", "", ""), created_at=1.0)
            return record.to_wire() | {"revision": float("inf")}

    router = fleet.router()
    async with router.client() as client:
        uid = await waiting(client)
        async with Strange(router, "strange", capacity={"jobs": 1}) as agent:
            await eventually(lambda: "prouter_create" in agent.called)
            async with asyncio.timeout(20):
                assert (await ask(client, "DELETE", f"/jobs/{uid}")).status == 200
            assert (await ask(client, "GET", f"/jobs/{uid}")).status == 404
        assert "Traceback" not in router.log


async def test_an_agent_that_can_not_is_passed_by_for_another_one(fleet) -> None:
    class Sick(FakeAgent):
        well = False

        async def prouter_create(self, context: CallContext, *arguments: Any) -> Any:
            if not self.well:
                raise NoRoom("its disk is full")
            return await super().prouter_create(context, *arguments)

    router = fleet.router()
    async with router.client() as client:
        first, second = await waiting(client), await waiting(client)
        async with Sick(router, "sick") as sick:
            await eventually(lambda: _detail_has(client, first, "its disk is full"))
            async with FakeAgent(router, "well", capacity={"jobs": 2}, running=1):
                assert await placed(client, first) == "well"
            Sick.well = True
            assert await placed(client, second) == sick.uid, "it is asked again though it tells nothing"


async def test_an_original_is_passed_by_and_named(fleet) -> None:
    router = fleet.router()
    async with router.client() as client:
        uid = await waiting(client)
        hello = {"auth": {"uid": "old", "name": "", "token": router.agent_token}}
        async with linked(router.address("server"), hello):
            await eventually(lambda: _detail_has(client, uid, "old: it speaks the original protocol only"))
            async with FakeAgent(router, "new", running=1):
                assert await placed(client, uid) == "new"


async def _detail_has(client: Client, uid: str, words: str) -> bool:
    return words in (await info(client, uid))["queue"]["detail"]


async def test_addresses_where_nobody_answers_hold_up_nobody_else(fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(None, "jobs.capacity=1")
    agent.stay_put("server")
    host, port = agent.address("server")
    there = {"type": "address", "address": f"{host}:{port}", "token": agent.token}
    async with router.client() as client:
        assert (await create(client, agent=there)).status == 200
        first, *others = [await waiting(client, agent=there) for _ in range(4)]
        anywhere = await waiting(client, 5)
        agent.kill()
        await eventually(lambda: _away(client))
        async with FakeAgent(router, "other", capacity={"jobs": 2}):
            assert await placed(client, anywhere) == "other"
            for uid in others:
                assert (await ask(client, "DELETE", f"/jobs/{uid}")).status == 200
            agent.start()
            assert await placed(client, first) == agent.uid


async def _away(client: Client) -> bool:
    return not any(agent["connected"] for agent in (await ask(client, "GET", "/agents")).json["agents"])


FLAKY = """
from pathlib import Path
from prouter import hookimpl
from prouter.errors import AgentNotFound, NoAgent

class Flaky:
    name, schema = "flaky", {"type": "object"}

    @hookimpl
    def prouter_selectors(self):
        return [self]

    async def choose(self, locator, candidates):
        if not candidates:
            raise NoAgent("nobody is there")
        if Path(__file__).with_name("broken").exists():
            raise AgentNotFound("dns", "the name is not found for the moment")
        return candidates[0].uid
"""


async def test_a_plugin_that_fails_for_a_moment_is_asked_again_without_any_news(fleet, tmp_path: Path) -> None:
    plugin, broken = tmp_path / "flaky.py", tmp_path / "broken"
    plugin.write_text(FLAKY)
    broken.touch()
    router = fleet.router(f"plugins.load=['{plugin}:Flaky']")
    async with router.client() as client:
        uid = await waiting(client, agent={"type": "flaky"})
        async with FakeAgent(router, "there"):
            await eventually(lambda: _detail_has(client, uid, "not found for the moment"))
            broken.unlink()
            assert await placed(client, uid) == "there"


STARTER = """
import asyncio
from pathlib import Path
from prouter import hookimpl
from prouter.model.access import Refusal

class Starter:
    @hookimpl
    async def prouter_provision_agent(self, request, progress):
        Path(__file__).with_name(f"asked-{request.name}").touch()
        while not Path(__file__).with_name("go").exists():
            await asyncio.sleep(0.02)
        return request.name
"""


async def test_an_agent_is_started_later_for_a_job_that_came_when_too_many_were(fleet, tmp_path: Path) -> None:
    plugin = tmp_path / "starter_in_turns.py"
    plugin.write_text(STARTER)
    router = fleet.router(f"plugins.load=['{plugin}:Starter']", "selection.max_provisioning=1")
    async with router.client() as client:
        one = await waiting(client, name="one")
        await eventually((tmp_path / "asked-one").exists)
        two = await waiting(client, name="two")
        await eventually(lambda: _detail_has(client, two, "selection.max_provisioning"))
        (tmp_path / "go").touch()
        async with FakeAgent(router, "one", capacity={"jobs": 1}):
            assert await placed(client, one) == "one"
            await eventually((tmp_path / "asked-two").exists)
            async with FakeAgent(router, "two", capacity={"jobs": 1}):
                assert await placed(client, two) == "two"


async def test_a_removal_that_is_repeated_has_the_same_answer(fleet) -> None:
    router = fleet.router("queue.max_wait=0.3")
    async with router.client() as client:
        given_up, uid = await waiting(client), await waiting(client)
        removed = await ask(client, "DELETE", f"/jobs/{uid}", **{"Idempotency-Key": "a"})
        assert (removed.status, removed.json["state"]) == (200, "NEW")
        again = await ask(client, "POST", f"/jobs/{uid}/remove", **{"Idempotency-Key": "a"})
        assert (again.status, again.json) == (200, removed.json)
        assert (await ask(client, "DELETE", f"/jobs/{uid}", **{"Idempotency-Key": "b"})).status == 404
        await ask(client, "POST", f"/jobs/{given_up}/wait")
        for _ in range(2):
            forgotten = await ask(client, "DELETE", f"/jobs/{given_up}", **{"Idempotency-Key": "c"})
            assert (forgotten.status, forgotten.json["reason"]) == (200, "timeout")
        assert (await ask(client, "DELETE", f"/jobs/{given_up}")).status == 404

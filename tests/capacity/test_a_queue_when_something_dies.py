"""The queue when a router, an agent or a client goes: each job is made once or not at all, a slot has one holder."""

from __future__ import annotations

import asyncio
import json
import signal
from functools import partial

from queueing import ANY, SLEEP, ask, create, placed, position, waiting

from prouter.client import Client
from prouter.model.ids import new_uid
from prouter.testing import FakeAgent, eventually


async def test_a_router_that_dies_forgets_its_queue_and_a_repeated_request_makes_one_job(fleet) -> None:
    router = fleet.router()
    router.stay_put("control", "server")
    agent = fleet.agent(router, "jobs.capacity=1", "client.reconnect_delay=0.2")
    await router.agent_is_there(agent)
    uid = new_uid()
    async with router.client() as client:
        running = await client.create(ANY)
        assert (await create(client, uid=uid)).status == 202
        router.kill()
        router.start()
        await router.agent_is_there(agent)
    async with router.client() as client:
        assert (await ask(client, "GET", f"/jobs/{uid}")).status == 404
        repeated = await asyncio.gather(*(create(client, uid=uid) for _ in range(3)))
        assert {answer.status for answer in repeated} == {202}
        await ask(client, "DELETE", f"/jobs/{running.info['uid']}")
        assert await placed(client, uid) == agent.uid
        assert (await create(client, uid=uid)).status == 200
        assert [job.info["uid"] for job in await client.jobs()] == [uid]
        waiter = asyncio.create_task(ask(client, "POST", f"/jobs/{await waiting(client)}/wait"))
        await ask(client, "GET", "/info")
        assert router.stop() == 0
        (await waiter).retryable("unavailable")


async def test_two_routers_queue_for_one_agent_and_neither_gives_out_more_than_there_is(fleet) -> None:
    first, second = fleet.router(), fleet.router()
    agent = fleet.agent(None, "jobs.capacity=2")
    host, port = agent.address("server")
    there = {"type": "address", "address": f"{host}:{port}", "token": agent.token}
    async with first.client() as one, second.client() as other:
        for client in (one, other):
            assert (await create(client, agent=there)).status == 200
        await eventually(lambda: _both(one, other, 2))
        first_two = await _made(one)
        same = new_uid()
        uids = [(one, same), (other, same)]
        assert {(await create(client, agent=there, uid=same)).status for client, _ in uids} == {202}
        uids += [(client, await waiting(client, agent=there)) for client in (one, other) for _ in range(2)]
        made = set(first_two)
        while len(made) < 7:
            held = [job for job in await one.jobs() if job.info["agent"] is not None]
            assert len(held) <= 2
            await held[0].remove()
            await eventually(partial(_more, one, made))
            capacity = (await one.agents())[0]["capacity"]["jobs"]
            assert capacity["used"] <= capacity["total"] == 2
            made |= await _made(one)
        assert {uid for _, uid in uids} == made - first_two
        assert not await _queued(one) + await _queued(other)


async def _both(one: Client, other: Client, count: int) -> bool:
    return len(await _made(one)) == len(await _made(other)) == count


async def _made(client: Client) -> set[str]:
    return {job.info["uid"] for job in await client.jobs() if job.info["agent"] is not None}


async def _queued(client: Client) -> list[str]:
    return [job.info["uid"] for job in await client.jobs() if job.info["agent"] is None]


async def _more(client: Client, known: set[str]) -> bool:
    return bool(await _made(client) - known)


async def test_a_slot_stays_taken_while_its_agent_is_gone_and_its_job_goes_on(fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(
        router, "jobs.survive_agent=True", "jobs.capacity=1", "jobs.resources.gpu=1", "client.reconnect_delay=0.2"
    )
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create(ANY, resources={"gpu": 1})
        await job.start(SLEEP, port_expected_count=0)
        uid = await waiting(client, resources={"gpu": 1})
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        assert (await job.refresh()).info["state"] == "RUNNING"
        assert "it is full: 1 jobs, capacity 1" in (await create(client, None)).retryable("no-agent")
        assert await position(client, uid) == 1
        await job.stop(grace_seconds=0)
        assert await placed(client, uid) == agent.uid
        assert (await client.agents())[0]["capacity"] == {
            "jobs": {"total": 1, "used": 1},
            "gpu": {"total": 1, "used": 1},
        }


async def test_a_client_that_goes_keeps_its_place(fleet) -> None:
    router = fleet.router()
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1) as agent:
        uid = new_uid()
        _, writer = await asyncio.open_connection(*router.address("control"))
        content = json.dumps({"agent": ANY, "uid": uid}).encode()
        writer.write(
            b"POST /jobs/create?queue=60 HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
        )
        await eventually(lambda: _waits(client, uid))
        writer.close()
        await writer.wait_closed()
        assert (await create(client, uid=uid)).json["queue"]["position"] == 1
        await agent.ends(next(iter(agent.jobs)))
        assert await placed(client, uid) == "full"


async def _waits(client: Client, uid: str) -> bool:
    return (await ask(client, "GET", f"/jobs/{uid}")).status == 200


async def test_a_job_that_is_removed_while_it_is_made_is_gone(fleet) -> None:
    class Slow(FakeAgent):
        go = asyncio.Event()
        asked = asyncio.Event()

        async def prouter_create(self, context, *arguments):  # type: ignore[no-untyped-def]
            self.asked.set()
            await self.go.wait()
            return await super().prouter_create(context, *arguments)

    router = fleet.router()
    async with router.client() as client:
        uid = await waiting(client)
        async with Slow(router, "slow", capacity={"jobs": 1}) as agent:
            async with asyncio.timeout(20):
                await agent.asked.wait()
            removing = asyncio.create_task(ask(client, "DELETE", f"/jobs/{uid}"))
            await ask(client, "GET", "/info")
            agent.go.set()
            assert (await removing).status == 200
            assert (await ask(client, "GET", f"/jobs/{uid}")).status == 404
            assert not agent.jobs


async def test_a_stopped_agent_keeps_nobody_else_waiting(fleet) -> None:
    router, stuck = await fleet.pair("jobs.capacity=1")
    async with router.client() as client, FakeAgent(router, "other", capacity={"jobs": 1}, running=1) as other:
        held = await client.create({"type": "uid", "uid": stuck.uid})
        for_stuck = await waiting(client, agent={"type": "uid", "uid": stuck.uid})
        anywhere = await waiting(client)
        stuck.signal(signal.SIGSTOP)
        try:
            (job,) = other.jobs
            await other.ends(job)
            assert await placed(client, anywhere) == "other"
            assert await position(client, for_stuck) == 1
        finally:
            stuck.signal(signal.SIGCONT)
        await held.remove()
        assert await placed(client, for_stuck) == stuck.uid

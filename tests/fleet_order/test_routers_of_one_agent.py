"""Routers share nothing but their agents: what one of them changes the other one tells, a uid is one job for both."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from prouter.client import Client, Job, RequestFailed
from prouter.model.ids import new_uid
from prouter.testing import AgentDaemon, Fleet, eventually

AGREED_SECONDS = 1.0
ROOM = 3
UIDS = 12
PAIRS = 4
SLEEP = ["sleep", "1000"]
AT_ONCE = 200
SERVED = 8
"""Of these, the ones that serve something."""
PROGRAM = """
import os
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), SimpleHTTPRequestHandler).serve_forever()
"""
START = {"args": [sys.executable, "-c", PROGRAM], "port": {"mode": "assign"}}


@asynccontextmanager
async def two_routers(fleet: Fleet, *settings: str) -> AsyncIterator[tuple[Client, Client, AgentDaemon]]:
    first = fleet.router()
    second = fleet.router(environ={"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([first.agent_token])})
    addresses = ["{}:{}".format(*router.address("server")) for router in (first, second)]
    agent = fleet.agent(first, f"client.addresses={addresses!r}", *settings)
    for router in (first, second):
        await router.agent_is_there(agent)
    async with first.client() as one, second.client() as other:
        yield one, other, agent


async def told(client: Client) -> dict[str, Any]:
    """What a router says of jobs and agents; since when an agent is connected is that router's own affair."""
    jobs, agents = await client.request("GET", "/jobs"), await client.agents()
    for agent in agents:
        del agent["connected_at"]
    return {"jobs": sorted(jobs["jobs"], key=lambda job: str(job["uid"])), "agents": agents}


async def test_the_same_uid_through_both_at_once_is_one_job_of_the_agent_that_is_named(fleet: Fleet) -> None:
    async with two_routers(fleet) as (one, other, agent):
        named = {"type": "uid", "uid": agent.uid}
        uids = [new_uid() for _ in range(UIDS)]
        made = await asyncio.gather(
            *(client.create(named, "once", uid=uid) for uid in uids for client in (one, other, other, one))
        )
        assert {job.info["uid"] for job in made} == set(uids)
        for uid in uids:
            same = [job.info for job in made if job.info["uid"] == uid]
            assert len({(info["path"], info["created_at"], str(info["sender"])) for info in same}) == 1
        assert sorted(path.name for path in agent.jobs.iterdir() if len(path.name) == 32) == sorted(uids)
        for client in (one, other):
            assert sorted(job.info["uid"] for job in await client.jobs()) == sorted(uids)
        starts = [Job(client, made[0].info).start(SLEEP, port_expected_count=0) for client in (one, other)]
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 1, "and it is started once"


async def test_a_uid_that_waits_at_one_and_is_made_of_something_else_by_the_other_is_a_conflict(fleet: Fleet) -> None:
    """Whichever of them makes it: who asked for something else is not told of that as of its own."""
    async with two_routers(fleet, "jobs.resources={'gpu': 1}") as (one, other, agent):
        named = {"type": "uid", "uid": agent.uid}
        busy = await one.create(named, "busy", resources={"gpu": 1})
        waits = await other.create(named, "waits", uid=new_uid(), resources={"gpu": 1}, queue_seconds=60)
        waiting = asyncio.create_task(waits.placed())
        made = await one.create(named, "another", uid=waits.info["uid"])
        with pytest.raises(RequestFailed, match="other arguments") as told_so:
            await waiting
        assert told_so.value.http_status == 409
        with pytest.raises(RequestFailed, match="other arguments"):
            await other.create(named, "waits", uid=waits.info["uid"], resources={"gpu": 1}, queue_seconds=60)

        waits_for = []
        for uid in (new_uid() for _ in range(PAIRS)):
            asked = {"uid": uid, "resources": {"gpu": 1}, "queue_seconds": 60}
            pair = [await one.create(named, "this", **asked), await other.create(named, "that", **asked)]
            waits_for.append([asyncio.create_task(job.placed()) for job in pair])
        for job in (busy, made):
            await job.remove()
        for this, that in waits_for:
            outcomes = await asyncio.gather(this, that, return_exceptions=True)
            (job,) = [outcome for outcome in outcomes if isinstance(outcome, Job)]
            (refused,) = [outcome for outcome in outcomes if isinstance(outcome, RequestFailed)]
            assert refused.http_status == 409
            assert job.info["name"] == ("this" if job is outcomes[0] else "that")
            await job.remove()


async def test_jobs_and_agents_are_the_same_at_both_within_a_second(fleet: Fleet) -> None:
    async with two_routers(fleet, "jobs.capacity=8") as (one, other, agent):
        named = {"type": "uid", "uid": agent.uid}

        async def same() -> bool:
            first, second = await asyncio.gather(told(one), told(other))
            return first == second

        async def agree() -> None:
            await eventually(same, seconds=AGREED_SECONDS * ROOM, what="the same of both routers")

        jobs = []
        for client, elsewhere in ((one, other), (other, one)):
            jobs += [await client.create(named, f"job {number}", labels={"a": "b"}) for number in range(2)]
            await agree()
            await jobs[-1].start(SLEEP, port_expected_count=0)
            await jobs[-2].start(["true"], port_expected_count=0)
            await agree()
            await elsewhere.drain(agent.uid)
            await agree()
            assert (await client.agents())[0]["draining"]
            await client.undrain(agent.uid)
            await Job(elsewhere, jobs[-1].info).stop()
            await agree()
            await jobs[-1].restart()
            await Job(elsewhere, jobs[-2].info).remove()
            await agree()
        assert len((await told(one))["jobs"]) == 2
        assert (await told(one))["agents"][0]["jobs"] == 2


async def test_a_job_that_waits_at_one_is_unknown_to_the_other_until_it_is_made(fleet: Fleet) -> None:
    async with two_routers(fleet, "jobs.capacity=1") as (one, other, agent):
        named, uid = {"type": "uid", "uid": agent.uid}, new_uid()
        first = await one.create(named)

        async def told_of_it(client: Client) -> tuple[int, Any]:
            async with client.session.get(f"{client.url}/jobs/{uid}") as answer:
                return answer.status, await answer.json()

        async def is_made(client: Client) -> bool:
            status, job = await told_of_it(client)
            return status == 200 and job["agent"] is not None

        body = {"agent": named, "uid": uid}
        async with one.session.post(f"{one.url}/jobs/create?queue=60", json=body) as answer:
            assert answer.status == 202
        status, job = await told_of_it(one)
        assert (status, job["state"], job["agent"]) == (200, "NEW", None)
        status, problem = await told_of_it(other)
        assert (status, problem["type"]) == (404, "urn:prouter:job-not-found")
        await first.remove()
        for client in (one, other):
            await eventually(partial(is_made, client), what="the job, once there is room")


async def test_a_job_made_through_one_is_a_job_of_the_other_at_once(fleet: Fleet) -> None:
    async with two_routers(fleet) as (one, other, agent):
        named, numbers = {"type": "uid", "uid": agent.uid}, iter(range(AT_ONCE))

        async def ask(client: Client, verb: str, path: str, body: object = None) -> None:
            async with client.session.request(verb, client.url + path, json=body) as answer:
                assert answer.status == 200, (verb, path, await answer.text())

        async def whole_lives() -> None:
            for number in numbers:
                maker, asked = (one, other) if number % 2 else (other, one)
                job = await maker.create(named)
                path = job.path if number % 4 < 2 else f"/jobs/{job.info['uid']}"
                serves = number < SERVED
                if serves:
                    by = maker if number % 4 < 2 else asked  # the other one has not heard of the start
                    await ask(by, "POST", f"{path}/start", START)
                    await ask(asked, "GET", f"{path}/http/")
                    await ask(maker, "GET", f"{path}/http/")
                elif number % 3:
                    await ask(asked, "GET", f"{path}/info")
                await ask(asked, "DELETE", path)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(whole_lives())

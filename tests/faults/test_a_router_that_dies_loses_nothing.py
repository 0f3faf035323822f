"""R4: a router that is killed and started again has all agents back in seconds, and everything is as it was before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import lagging
from figures import LONG, Figures
from sampling import percentile

from prouter.client import Client, Job
from prouter.model.ids import new_uid
from prouter.testing import AgentDaemon, RouterDaemon, eventually

AGENTS, JOBS, SECONDS = (int(os.environ.get("PROUTER_AGENTS", 200)), 200, 10.0) if LONG else (5, 20, 5.0)
"""Processes of this machine, and what is promised for the return of the last one."""
LAG_MS = 100.0
ROOM = 3.0
"""A deadline of a test is so many times what is promised: the machine may be busy."""
ENDS_MEANWHILE = ["/bin/sh", "-c", "mkfifo go; echo begun; read word < go; echo over; exit 7"]
"""Takes no processor while it waits: there are hundreds of them."""


async def test_agents_are_back_in_time_and_jobs_paths_keys_and_results_are_as_before(fleet, figures: Figures) -> None:
    router = fleet.router(plugins=[lagging.LoopLag])
    router.stay_put("server", "control")
    agents = [fleet.agent(router) for _ in range(AGENTS)]
    async with router.client() as client:
        await eventually(lambda: connected(client, agents), seconds=120)
        jobs = [await begun(client, agents[number % AGENTS], number) for number in range(JOBS)]
        finished, ending, running, removed = jobs[0], jobs[1], jobs[2:-1], jobs[-1]
        await let_end(agents, finished)
        await finished.wait()
        keyed = await asked(client, f"{removed.path}/remove", None, "remove")
        before = {job.path: (await job.refresh()).info for job in running}
        waiting = [asyncio.ensure_future(one.wait()) for one in (ending, *running[:3])]
        await eventually(lambda: remembered(router, agents))
        router.kill()
        (router.place / lagging.FILE).unlink(missing_ok=True)
        for cut in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(cut, aiohttp.ClientError), cut
        await let_end(agents, ending)
        await asyncio.sleep(1.0 if LONG else 0.3)  # their pauses grow meanwhile
        start_ahead_of(agents, router)
        back = await until_all_are_back(client, agents)
        took = max(back)
        least = 200 if LONG else 5
        figures.record("R4", "agents", len(agents), goal=f">= {least}", holds=len(agents) >= least)
        figures.record("R4", "all agents are back", took, goal=SECONDS, unit="s", spread=back)
        await lag(router, figures)
        kept = {job.path: (await job.refresh()).info for job in running}
        lost = sum(kept[path] != before[path] for path in before)
        figures.record("R4", "jobs that were lost or changed", lost, goal=0)
        assert kept == before
        for job in (finished, ending):
            assert (await job.wait()).info["exit_code"] == 7, "a wait that is asked again has its answer"
            assert await output_of(client, job) == b"begun\nover\n"
        assert (await asked(client, f"{removed.path}/remove", None, "remove")) == keyed
        await nothing_is_done_twice(client, agents, running[0])
        assert len(await client.jobs()) == JOBS - 1


def start_ahead_of(agents: Sequence[AgentDaemon], router: RouterDaemon) -> None:
    """In life each of hundreds has a machine of its own, and the router another: it has not to wait for what they need.

    Priorities count within a session only (autogroups), and all daemons of a test are in one.
    """
    if not LONG:
        router.start()
        return
    for agent in agents:
        for thread in os.listdir(f"/proc/{agent.pid}/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, int(thread), 19)
    router.forks = False  # or it would have the priority of who forks it
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):  # for root alone
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        router.start()
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, mine)


async def until_all_are_back(client: Client, agents: Sequence[AgentDaemon]) -> list[float]:
    """Seconds from now until each is connected."""
    began, missing = time.monotonic(), {agent.uid for agent in agents}
    back: list[float] = []

    async def all_of_them() -> bool:
        await asyncio.sleep(0.1 if LONG else 0)  # a list of hundreds is work, too
        try:
            there = {agent["uid"] for agent in await client.agents() if agent["connected"]} & missing
        except aiohttp.ClientError:
            return False
        back.extend([time.monotonic() - began] * len(there))
        missing.difference_update(there)
        return not missing

    await eventually(all_of_them, seconds=SECONDS * ROOM, what="all agents")
    return back


async def lag(router: RouterDaemon, figures: Figures) -> None:
    """Of the router's loop, from its start on; a ratio of what others left of the machine, and so only written down."""
    await eventually((router.place / lagging.FILE).exists, what="a look at the lag")
    seen = lagging.seen(router.place)
    late, busy = ([seconds * 1000 for seconds in each] for each in (seen.late, seen.busy))
    p99 = percentile(late, 0.99)
    figures.record("R4", "lag of the router's loop, p99", p99, goal=LAG_MS, unit="ms", spread=late)
    figures.record("R4", "longest work of the router's loop at once", max(busy), goal=LAG_MS, unit="ms", spread=busy)
    figures.record("R4", "the router waited for a processor", seen.waited / (seen.ran + seen.waited) * 100, unit="%")


async def test_a_create_that_is_repeated_waits_for_the_agent_that_may_have_made_it(fleet) -> None:
    router, first = await fleet.pair()
    router.stay_put("server", "control")
    uid = new_uid()
    async with router.client() as client:
        body = {"agent": {"type": "select", "uids": [first.uid]}, "name": "one", "uid": uid}
        job = await client.create(body["agent"], "one", uid=uid)
        second = fleet.agent(router)
        await eventually(lambda: connected(client, [first, second]))
        await eventually(lambda: remembered(router, [first, second]))
        router.kill()
        first.signal(signal.SIGSTOP)
        try:
            for _ in range(2):  # the second time what the run between has written counts, in which it was never there
                began = time.time()
                router.start()
                await eventually(lambda: connected(client, [second]))
                await eventually(lambda began=began: written_since(router, began), what="what the router keeps")
                router.kill()
            router.start()
            await eventually(lambda: connected(client, [second]))
            assert (await asked(client, f"{job.path}/stop", None, "s"))[0] == 503, "it may come back"
            anywhere = body | {"agent": {"type": "select", "uids": [first.uid, second.uid]}}
            repeated = [asyncio.ensure_future(asked(client, "/jobs/create", each, "k")) for each in (body, anywhere)]
            done, _ = await asyncio.wait(repeated, timeout=0.5)
            assert not done, "it may be on the agent that is not back"
        finally:
            first.signal(signal.SIGCONT)
        (status, info), (other, _) = await asyncio.gather(*repeated)
        assert (status, info["uid"], info["agent"]["uid"]) == (200, uid, first.uid)
        assert other == 409, "other arguments"
        assert [found.info["uid"] for found in await client.jobs()] == [job.info["uid"]]


async def nothing_is_done_twice(client: Client, agents: Sequence[AgentDaemon], job: Job) -> None:
    """What was asked before the router died is asked again with the same keys."""
    before = (await job.refresh()).info
    agent = next(agent for agent in agents if agent.uid == before["agent"]["uid"])
    body = {"agent": {"type": "uid", "uid": agent.uid}, "name": before["name"], "uid": before["uid"]}
    for path, again in (("/jobs/create", body), (f"{job.path}/start", START)):
        status, info = await asked(client, path, again, "start")
        assert (status, info["uid"], info["pid"]) == (200, before["uid"], before["pid"])


START = {"args": ENDS_MEANWHILE, "port_expected_count": 0}


async def begun(client: Client, agent: AgentDaemon, number: int) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, f"job {number}", uid=new_uid())
    assert (await asked(client, f"{job.path}/start", START, "start"))[0] == 200
    return job


async def asked(client: Client, path: str, body: Any, key: str) -> tuple[int, Mapping[str, Any]]:
    headers = {"Idempotency-Key": key}
    async with client.session.post(client.url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def output_of(client: Client, job: Job) -> bytes:
    async with client.session.get(f"{client.url}{job.path}/output") as answer:
        assert answer.status == 200
        return await answer.read()


async def connected(client: Client, agents: Sequence[AgentDaemon]) -> bool:
    try:
        there = {agent["uid"] for agent in await client.agents() if agent["connected"]}
    except aiohttp.ClientError:
        return False
    return there >= {agent.uid for agent in agents}


def remembered(router: RouterDaemon, agents: Sequence[AgentDaemon]) -> bool:
    """Whether the router's own file names all that were there."""
    kept = "".join(place.read_text() for place in router.place.glob("state/**/agents.json"))
    return all(agent.uid in kept for agent in agents)


def written_since(router: RouterDaemon, began: float) -> bool:
    return any(place.stat().st_mtime > began for place in router.place.glob("state/**/agents.json"))


async def let_end(agents: Sequence[AgentDaemon], job: Job) -> None:
    go = sandbox_of(agents, job) / "go"

    def reads() -> bool:
        with contextlib.suppress(OSError):  # it is not that far
            os.close(os.open(go, os.O_WRONLY | os.O_NONBLOCK))
            return True
        return False

    await eventually(reads, what="a job that waits")


def sandbox_of(agents: Sequence[AgentDaemon], job: Job) -> Any:
    return next(agent for agent in agents if agent.uid == job.info["agent"]["uid"]).sandbox(job)

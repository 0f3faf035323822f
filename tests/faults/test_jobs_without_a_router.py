"""R1: for how long jobs go on while no router is linked, which is `jobs.orphan_timeout` of their agent."""

from __future__ import annotations

import asyncio
import time

import pytest

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, BrokenNetwork, eventually

RECONNECT = "client.reconnect_delay=0.05"


async def running_job(client: Client, agent: AgentDaemon) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "left alone")
    return await job.start(["/bin/sh", "-c", "echo begun; exec sleep 3600"], port_expected_count=0)


async def state(job: Job) -> tuple[str, str | None]:
    info = (await job.refresh()).info
    return info["state"], info["reason"]


@pytest.mark.parametrize("seconds", ["0.4", "0"])
async def test_jobs_end_when_no_router_was_there_for_so_long(fleet, seconds: str) -> None:
    """0 is what an original does: they end with the link."""
    router = fleet.router()
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, RECONNECT, f"client.address='{line.authority}'", f"jobs.orphan_timeout={seconds}")
        await router.agent_is_there(agent)
        job = await running_job(client, agent)
        line.refuse()
        await eventually(lambda: "ending 1 jobs" in agent.log)
        line.take_again()
        await router.agent_is_there(agent)
        waited = await job.wait(20)
        assert (waited.info["state"], waited.info["reason"]) == ("FINISHED", "orphaned")
        assert await client.request("GET", job.path + "/info")  # it is kept until it is removed


async def test_the_time_runs_only_while_no_router_is_linked(fleet) -> None:
    router = fleet.router()
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, RECONNECT, f"client.address='{line.authority}'", "jobs.orphan_timeout=2")
        await router.agent_is_there(agent)
        job = await running_job(client, agent)
        for _ in range(3):  # away for 2.4 s together, never for 2
            line.refuse()
            await asyncio.sleep(0.8)
            line.take_again()
            await router.agent_is_there(agent)
        assert await state(job) == ("RUNNING", None)


async def test_null_is_for_ever_at_both_ends(fleet) -> None:
    router = fleet.router("jobs.orphan_timeout=null")
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, RECONNECT, f"client.address='{line.authority}'", "jobs.orphan_timeout=null")
        await router.agent_is_there(agent)
        job = await running_job(client, agent)
        line.refuse()
        await eventually(lambda: is_away(job))
        waiting = asyncio.create_task(job.wait())
        begun = time.monotonic()
        await eventually(lambda: time.monotonic() - begun > 1.2)  # the router looks once a second
        assert not waiting.done()
        line.take_again()
        await router.agent_is_there(agent)
        assert await state(job) == ("RUNNING", None)
        await job.stop(grace_seconds=0)
        assert (await waiting).info["reason"] == "stopped"


async def is_away(job: Job) -> bool:
    try:
        await job.refresh()
    except RequestFailed as error:
        if error.http_status != 503:
            raise
        return True
    return False

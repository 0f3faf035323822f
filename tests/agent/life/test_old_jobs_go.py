"""jobs.finished_ttl: a finished job that nobody removes goes after a while, whatever the clock says meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from small_jobs import made, runs

from prouter.client import Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, eventually

TEN_DAYS = 864000.0


async def test_a_finished_job_goes_with_all_that_it_has_and_others_stay(fleet) -> None:
    router, agent = await fleet.pair("jobs.finished_ttl=1")
    async with router.client() as client:
        new, running = await made(client, agent), await runs(client, agent)
        finished = await runs(client, agent, "open('result', 'w').close()")
        assert (await finished.wait()).info["reason"] == "exited"
        ended_at = time.monotonic()
        await eventually(lambda: not (agent.jobs / finished.info["uid"]).exists())
        assert time.monotonic() - ended_at > 0.9
        await eventually(lambda: gone(finished))
        assert [(await job.refresh()).info["state"] for job in (new, running)] == ["NEW", "RUNNING"]
        assert {entry.name for entry in agent.jobs.iterdir()} == {new.info["uid"], running.info["uid"]}


async def gone(job: Job) -> bool:
    try:
        await job.refresh()
    except RequestFailed as error:
        return error.http_status == 404
    return False


async def test_age_is_counted_while_the_agent_is_away_and_not_by_a_clock_that_jumps(fleet) -> None:
    router, agent = await fleet.pair("jobs.finished_ttl=86400")
    async with router.client() as client:
        jumped, earlier, older, young = [await runs(client, agent, "pass") for _ in range(4)]
        for job in (jumped, earlier, older, young):
            await job.wait()
        agent.kill()
        change(agent, jumped, lambda record: record.update(finished_at=record["finished_at"] - TEN_DAYS))
        change(agent, earlier, before_the_machine_started_anew)
        change(agent, older, lambda record: record.update(ended_at=[record["ended_at"][0], -TEN_DAYS]))
        change(agent, young, lambda record: record.update(ended_at=["another start of the machine", 0.0]))
        agent.start()
        await router.agent_is_there(agent)
        for job in (earlier, older):
            await eventually(lambda job=job: not (agent.jobs / job.info["uid"]).exists())
        for job in (jumped, young):
            assert (await job.refresh()).info["state"] == "FINISHED"


def change(agent: AgentDaemon, job: Job, how: Callable[[dict[str, Any]], None]) -> None:
    place = agent.jobs / job.info["uid"] / "record.json"
    record = json.loads(place.read_text())
    how(record)
    place.write_text(json.dumps(record))


def before_the_machine_started_anew(record: dict[str, Any]) -> None:
    record["finished_at"] -= TEN_DAYS
    record["ended_at"] = ["another start of the machine", record["ended_at"][1]]


async def test_never_is_never(fleet) -> None:
    router, agent = await fleet.pair("jobs.finished_ttl=None")
    async with router.client() as client:
        job = await runs(client, agent, "pass")
        await job.wait()
        agent.kill()
        change(agent, job, before_the_machine_started_anew)
        agent.start()
        await router.agent_is_there(agent)
        assert (await job.refresh()).info["state"] == "FINISHED"

"""How jobs end: each reason, waits on each, and removals that race with them."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from small_jobs import SLEEPS, made, python, refusal, runs

from prouter.client import Job
from prouter.testing import eventually

pytestmark = pytest.mark.as_user


async def test_each_way_to_end_has_its_reason_and_exit_code(fleet) -> None:
    router, agent = await fleet.pair()
    ways = {
        "pass": ("exited", 0),
        "raise SystemExit(7)": ("exited", 7),
        "import os; os.kill(os.getpid(), 15)": ("signaled", -15),
        "import os; os.abort()": ("signaled", -6),
    }
    async with router.client() as client:
        for program, expected in ways.items():
            job = await (await runs(client, agent, program)).wait()
            assert (job.info["reason"], job.info["exit_code"]) == expected
            assert job.info["state"] == "FINISHED"
            assert job.info["created_at"] <= job.info["started_at"] <= job.info["finished_at"]
            assert (await job.wait()).info == (await job.refresh()).info, "a wait on what has ended is answered at once"


async def test_a_timeout_ends_a_start_that_waits_for_its_port_too(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        why = await refusal(job.start(python(SLEEPS), port={"ready_timeout": 60}, timeout=0.5), 422)
        assert "ended at its `timeout` before it served" in why
        assert (await job.refresh()).info["reason"] == "start-failed"
        running = await runs(client, agent, timeout=0.5)
        await running.wait()
        assert (running.info["reason"], running.info["exit_code"]) == ("timeout", -9)


async def test_a_wait_with_a_timeout_says_how_the_job_is_then(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await runs(client, agent)
        assert (await job.wait(0.2)).info["state"] == "RUNNING"
        os.kill(job.info["pid"], signal.SIGKILL)
        assert (await job.wait(30)).info["reason"] == "signaled"


async def test_who_waits_for_a_job_that_is_removed_hears_of_its_end_first(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await runs(client, agent)
        waits = [asyncio.create_task(Job(client, job.info).wait()) for _ in range(3)]
        await asyncio.wait(waits, timeout=0.3)
        await job.remove()
        for wait in waits:
            info = (await wait).info
            assert (info["state"], info["reason"], info["exit_code"]) == ("FINISHED", "stopped", -9)
        await refusal(job.wait(), 404)


async def test_removing_twice_at_once_and_afterwards(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for started in (False, True):
            job = await (runs(client, agent) if started else made(client, agent))
            removals = [Job(client, job.info).remove() for _ in range(3)]
            outcomes = await asyncio.gather(*removals, return_exceptions=True)
            assert {getattr(outcome, "http_status", 200) for outcome in outcomes} <= {200, 404}
            assert any(isinstance(outcome, Job) for outcome in outcomes)
            await refusal(job.remove(), 404)
            assert not (agent.jobs / job.info["uid"]).exists()


async def test_a_job_removed_in_the_moment_of_its_end_is_gone(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for _ in range(5):
            job = await runs(client, agent, "pass")
            await job.remove()
            await refusal(job.refresh(), 404)
        await eventually(lambda: not list(agent.jobs.iterdir()))


async def test_a_job_that_made_its_sandbox_unwritable_is_removed_whole(fleet) -> None:
    router, agent = await fleet.pair()
    locked = "import os; os.makedirs('a/b'); open('a/b/c', 'w'); os.chmod('a/b', 0); os.chmod('a', 0o500)"
    async with router.client() as client:
        job = await (await runs(client, agent, locked)).wait()
        assert job.info["exit_code"] == 0
        await job.remove()
    assert list(agent.jobs.iterdir()) == []


async def test_a_job_that_made_directories_deeper_than_any_path_is_removed_whole(fleet) -> None:
    router, agent = await fleet.pair()
    deep = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nopen('f', 'w')"
    async with router.client() as client:
        job = await (await runs(client, agent, deep)).wait()
        assert job.info["exit_code"] == 0
        await job.remove()
    assert list(agent.jobs.iterdir()) == []


async def test_the_agents_limit_of_processes_holds_for_a_start_that_names_none(fleet) -> None:
    router, agent = await fleet.pair("jobs.limits.processes=30")
    many = "import subprocess, time\nfor n in range({0}): subprocess.Popen(['sleep', '600'])\n"
    async with router.client() as client:
        few = await runs(client, agent, many.format(10))
        assert (await few.wait(30)).info["reason"] == "exited"
        storm = await runs(client, agent, many.format(200) + "time.sleep(600)")
        await storm.wait(60)
        assert (storm.info["state"], storm.info["reason"]) == ("FINISHED", "limit")
        higher = await runs(client, agent, many.format(60), limits={"processes": 100})
        assert (await higher.wait(30)).info["reason"] == "exited"

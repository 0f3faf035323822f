"""jobs.disk_quota under way: what is to go is looked at again before it goes, and measuring holds nobody up."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from small_jobs import runs

from prouter import hookimpl
from prouter.agent.guard.held.measure import Measure
from prouter.agent.jobs import clean_up, finished
from prouter.cli import clean
from prouter.client import Client, Job, RequestFailed
from prouter.testing import AgentDaemon, Fleet, eventually

MIB = 1 << 20
LASTS = """
import os, sys, time
if int(sys.argv[1]):
    os.posix_fallocate(os.open("data", os.O_WRONLY | os.O_CREAT), 0, int(sys.argv[1]) << 20)
time.sleep(600)
"""
"""Takes its room all at once."""


class OneAfterTheOther:
    """A job that goes is held where its sandbox has a file `hold`, until the place HELD in the environment is gone."""

    def __init__(self) -> None:
        finished.MAX_PAUSE_SECONDS, finished.COST, finished.REMOVED_AT_ONCE = 0.1, 0, 1

    @hookimpl
    async def prouter_cleanup_sandbox(self, sandbox: Path) -> None:
        held = Path(os.environ["HELD"])
        if (sandbox / "hold").exists():
            held.touch()
            while held.exists():
                await asyncio.sleep(0.02)


class Place:
    def __init__(self, agent: AgentDaemon, client: Client) -> None:
        self.agent, self.client = agent, client

    async def finished(self, mib: int) -> Job:
        job = await runs(self.client, self.agent, f"import os; open('data', 'wb').write(os.urandom({mib} << 20))")
        return await job.wait(20)

    async def lasting(self, mib: int) -> Job:
        return await runs(self.client, self.agent, LASTS, str(mib))

    def hold(self, job: Job) -> None:
        (Path(self.agent.sandbox(job)) / "hold").touch()

    def there(self, job: Job) -> bool:
        return (self.agent.jobs / job.info["uid"]).exists()

    async def would_go(self, job: Job) -> bool:
        told = await self.client.clean_up(self.agent.uid)
        return job.info["uid"] in [doomed["uid"] for doomed in told["jobs"]]


async def test_nothing_goes_for_want_of_room_that_is_there_by_then(fleet: Fleet, tmp_path: Path) -> None:
    router, held = fleet.router(), tmp_path / "held"
    agent = fleet.agent(router, f"jobs.disk_quota={8 * MIB}", plugins=(OneAfterTheOther,), environ={"HELD": str(held)})
    await router.agent_is_there(agent)
    async with router.client() as client:
        place = Place(agent, client)
        first, again, other = [await place.finished(2) for _ in range(3)]
        place.hold(first)
        await place.lasting(5)
        await eventually(held.exists, what="the removal of the oldest one")
        assert await place.would_go(again)
        await again.restart()
        await again.wait(20)
        held.unlink()
        await eventually(lambda: not place.there(other), what="the end of the one that is the oldest now")
        assert place.there(again), "it ran anew, and is the newest"

        place.hold(again)
        last = await place.finished(0)
        more = await place.lasting(4)
        await eventually(held.exists, what="the removal of the oldest one")
        assert await place.would_go(last)
        await more.remove()
        held.unlink()
        await eventually(lambda: not place.there(again), what="the end of the oldest one")
        await place.finished(0)
        assert place.there(last), "there was room by then"


class Hangs:
    """A disk that does not answer whoever measures."""

    @hookimpl
    def prouter_startup(self) -> None:
        finished.PATIENCE_SECONDS = 0.2

        def step(measure: Measure, seconds: float) -> int | None:
            time.sleep(600)
            return 0

        Measure.step = step  # type: ignore[method-assign]


async def test_a_disk_that_hangs_takes_one_thread_and_holds_up_neither_the_end_nor_what_is_old(fleet: Fleet) -> None:
    router = fleet.router("jobs.call_timeout=1")
    agent = fleet.agent(router, "jobs.finished_ttl=1", "jobs.disk_quota=1", plugins=(Hangs,))
    await router.agent_is_there(agent)

    async def refused(client: Client) -> None:
        with pytest.raises(RequestFailed, match="504"):
            await client.clean_up(agent.uid)

    async with router.client() as client:
        job = await runs(client, agent, "pass")
        await job.wait(20)
        await refused(client)
        before = threads(agent)
        for _ in range(2):
            await refused(client)
        assert threads(agent) <= before
        await eventually(lambda: not Place(agent, client).there(job), what="the end of the old job, all the same")
        assert await asyncio.to_thread(agent.stop) == 0


def threads(agent: AgentDaemon) -> int:
    return len(os.listdir(f"/proc/{agent.pid}/task"))


class Fails:
    """A disk that answers whoever measures with an error at first."""

    @hookimpl
    def prouter_startup(self) -> None:
        finished.MAX_PAUSE_SECONDS, finished.COST = 0.1, 0
        step, failed = Measure.step, threading.Event()

        def fails_at_first(measure: Measure, seconds: float) -> int | None:
            if not failed.is_set():
                failed.set()
                raise ZeroDivisionError
            return step(measure, seconds)

        Measure.step = fails_at_first  # type: ignore[method-assign]


async def test_a_look_that_fails_is_not_the_last(fleet: Fleet) -> None:
    fleet.expected_errors += ["could not be looked through", "Traceback"]
    router = fleet.router()
    agent = fleet.agent(router, "jobs.disk_quota=1", plugins=(Fails,))
    await router.agent_is_there(agent)
    async with router.client() as client:
        place = Place(agent, client)
        jobs = [await place.lasting(0) for _ in range(2)]
        await eventually(lambda: "could not be looked through" in agent.log, what="a look that fails")
        for job in jobs:
            await job.stop(grace_seconds=0)
        await eventually(lambda: not any(map(place.there, jobs)), what="the end of both")


class NamesOne:
    @hookimpl
    def prouter_startup(self) -> None:
        clean_up.MAX_SHOWN = 1


async def test_an_answer_names_some_and_counts_all(fleet: Fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(router, plugins=(NamesOne,))
    await router.agent_is_there(agent)
    async with router.client() as client:
        place = Place(agent, client)
        first, _ = [await place.finished(1) for _ in range(2)]
        told: dict[str, Any] = await client.clean_up(agent.uid, disk_bytes=0)
        assert [job["uid"] for job in told["jobs"]] == [first.info["uid"]]
        assert told["count"] == 2
        assert 2 * MIB <= told["freed_bytes"] <= told["total_bytes"]
        line, more, total = clean.shown(told).splitlines()
        assert line.startswith(first.info["uid"])
        assert (more, total.partition(",")[0]) == ("and 1 more", "2 jobs would go")


class LooksOften:
    @hookimpl
    def prouter_startup(self) -> None:
        finished.MAX_PAUSE_SECONDS, finished.COST = 0.1, 1


async def test_what_was_set_aside_goes_as_a_job_that_finished_then(fleet: Fleet) -> None:
    fleet.expected_errors.append("is lost")
    router = fleet.router()
    agent = fleet.agent(router, f"jobs.disk_quota={4 * MIB}", plugins=(LooksOften,))
    await router.agent_is_there(agent)
    async with router.client() as client:
        place = Place(agent, client)
        torn, mended, whole = [await place.finished(1) for _ in range(3)]
        agent.kill()
        for job in (torn, mended):
            (agent.jobs / job.info["uid"] / "record.json").write_text("")
        many = [agent.jobs / f"torn-{number:032x}" for number in range(40)]
        for earlier in many:
            earlier.mkdir()
        agent.start()
        await router.agent_is_there(agent)
        assert all(earlier.exists() for earlier in many), "no number of them is too many"
        for earlier in many:
            earlier.rmdir()
        there, taken_away = [agent.jobs / f"torn-{job.info['uid']}" for job in (torn, mended)]
        told: dict[str, Any] = await client.clean_up(agent.uid, finished_seconds=0)
        assert {job["uid"] for job in told["jobs"]} == {there.name, taken_away.name, whole.info["uid"]}
        assert f"{there.name}  finished 2" in clean.shown(told)
        assert 3 * MIB <= told["freed_bytes"] <= told["total_bytes"]
        assert (await client.clean_up(agent.uid, finished_seconds=3600))["jobs"] == []
        taken_away.rename(agent.jobs / "looked at")
        told = await client.clean_up(agent.uid, finished_seconds=0)
        assert {job["uid"] for job in told["jobs"]} == {there.name, whole.info["uid"]}
        await whole.restart()
        await whole.wait(20)  # later than that was set aside
        assert there.exists()
        last = await place.finished(3)
        await eventually(lambda: not there.exists(), what="the end of the oldest")
        assert (agent.jobs / "looked at").is_dir()
        assert place.there(last)
    assert f"job {there.name} goes: " in agent.log

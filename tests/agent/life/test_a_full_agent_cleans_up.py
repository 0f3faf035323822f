"""jobs.disk_quota: finished jobs go, those that finished first first, while all jobs take more, and nothing else goes.
And what would go can be asked before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from small_jobs import made, runs

from prouter import hookimpl
from prouter.agent.jobs import finished
from prouter.cli import clean
from prouter.client import Client, Job, RequestFailed
from prouter.model.access import Refusal
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

MIB = 1 << 20


class LooksOften:
    @hookimpl
    def prouter_startup(self) -> None:
        finished.MAX_PAUSE_SECONDS, finished.COST = 0.1, 1


class SeesNoJobs:
    @hookimpl
    def prouter_authorize(self, principal: Any, action: str, resource: Any) -> Refusal | None:
        return None if action == "agents.read" else Refusal("you may see agents, and none of their jobs")


class Place:
    def __init__(self, router: RouterDaemon, agent: AgentDaemon, client: Client) -> None:
        self.router, self.agent, self.client = router, agent, client

    async def finished(self, mib: int) -> Job:
        job = await runs(self.client, self.agent, f"import os; open('data', 'wb').write(os.urandom({mib} << 20))")
        await job.wait(20)
        return job

    def there(self, *jobs: Job) -> list[bool]:
        return [(self.agent.jobs / job.info["uid"]).exists() for job in jobs]

    async def would_go(self, **limits: Any) -> list[tuple[str, str]]:
        found = await self.client.clean_up(self.agent.uid, **limits)
        return [(job["uid"], job["reason"]) for job in found["jobs"]]


async def test_a_dry_run_says_what_would_go_and_removes_nothing(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        place = Place(router, agent, client)
        first, second = await place.finished(3), await place.finished(2)
        new, running = await made(client, agent), await runs(client, agent, "import time; time.sleep(600)")
        one, two = first.info["uid"], second.info["uid"]
        assert await place.would_go() == []
        assert await place.would_go(disk_bytes=3 * MIB) == [(one, "disk_quota")]
        assert await place.would_go(disk_bytes=0) == [(one, "disk_quota"), (two, "disk_quota")]
        assert await place.would_go(finished_seconds=0, disk_bytes=0) == [(one, "finished_ttl"), (two, "finished_ttl")]
        assert await place.would_go(finished_seconds=3600, disk_bytes=100 * MIB) == []
        found = await client.clean_up(agent.uid, disk_bytes=3 * MIB)
        assert 3 * MIB <= found["jobs"][0]["bytes"] < 4 * MIB
        assert 5 * MIB <= found["total_bytes"] < 7 * MIB
        assert (found["finished_ttl"], found["disk_quota"]) == (604800, 3 * MIB)
        for wrong in ("finished_ttl=-1", "finished_ttl=nan", "disk_quota=much"):
            with pytest.raises(RequestFailed, match="400 Invalid request"):
                await client.request("GET", f"/agents/{agent.uid}/clean-up?{wrong}")
        words = ["--dry-run", "--disk-quota", str(3 * MIB), "--url", router.url(), agent.uid]
        assert await asyncio.to_thread(clean.run, words) == 0
        line, total = capsys.readouterr().out.splitlines()
        assert line.startswith(f"{one}  finished ")
        assert total.startswith("1 jobs would go, ")
        with pytest.raises(SystemExit):
            clean.run([agent.uid])
        assert place.there(first, second, new, running) == [True] * 4


async def test_who_may_not_see_jobs_is_not_told_which_would_go(fleet: Fleet) -> None:
    router = fleet.router(plugins=[SeesNoJobs])
    async with router.client() as client:
        await client.agents()
        with pytest.raises(RequestFailed, match=r"403 .*job\.read is not allowed"):
            await client.clean_up("whichever")


async def test_the_oldest_finished_go_while_all_take_too_much_and_nothing_else(fleet: Fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(router, f"jobs.disk_quota={8 * MIB}", plugins=(LooksOften,))
    await router.agent_is_there(agent)
    async with router.client() as client:
        place = Place(router, agent, client)
        first, second, third = [await place.finished(2) for _ in range(3)]
        new = await made(client, agent)
        assert await place.would_go() == []
        assert place.there(first, second, third) == [True] * 3
        holds = await runs(client, agent, "import os, time; open('data', 'wb').write(bytes(3 << 20)); time.sleep(600)")
        await eventually(lambda: not any(place.there(first)), what="the end of the oldest one")
        assert place.there(second, third) == [True] * 2
        more = await runs(client, agent, "import os, time; open('data', 'wb').write(bytes(9 << 20)); time.sleep(600)")
        await eventually(lambda: not any(place.there(second, third)), what="the end of all that have finished")
        await eventually(lambda: "they stay" in agent.log, what="a word about those that stay")
        assert [(await job.refresh()).info["state"] for job in (new, holds, more)] == ["NEW", "RUNNING", "RUNNING"]
        data = agent.sandbox(more) / "data"
        await eventually(lambda: data.stat().st_size == 9 * MIB, what="all that it writes")
        assert agent.log.count("they stay") == 1

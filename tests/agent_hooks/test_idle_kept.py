"""Plugins may keep an idle job, for a while each time; who can not be asked keeps it, too."""

from __future__ import annotations

import itertools
import sys

from witness import Told, tell

from prouter import hookimpl
from prouter.client import Client, Job
from prouter.model.access import Refusal
from prouter.model.jobs import JobRecord
from prouter.testing import AgentDaemon, eventually

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
TIMES = 3
"""That an objection is made, until there is none."""


class Warm:
    def __init__(self) -> None:
        self._asked = 0

    @hookimpl
    def prouter_job_idle(self, record: JobRecord, idle_seconds: float) -> Refusal | None:
        if record.name == "broken":
            tell("broken")
            raise LookupError("who?")
        if record.name != "warm":
            return None
        self._asked += 1
        tell(f"{self._asked} {idle_seconds:.3f}")
        return Refusal("it is kept warm") if self._asked <= TIMES else None


async def idle(client: Client, agent: AgentDaemon, name: str) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, name)
    return await job.start(SLEEPS, port_expected_count=0)


async def test_an_objection_keeps_a_job_until_it_is_asked_again(fleet, told: Told) -> None:
    fleet.expected_errors += ["plugin warm", "Traceback"]
    router = fleet.router()
    agent = fleet.agent(router, "jobs.idle_timeout=0.4", environ=told.environ, plugins={"warm": Warm})
    await router.agent_is_there(agent)
    async with router.client() as client:
        broken = await idle(client, agent, "broken")
        warm = await idle(client, agent, "warm")
        cold = await idle(client, agent, "cold")
        await cold.wait(20)
        assert cold.info["reason"] == "stopped"
        await warm.wait(20)
        assert warm.info["reason"] == "stopped"
        asked = [float(line.split()[1]) for line in told.lines() if line != "broken"]
        assert len(asked) == TIMES + 1
        assert all(later - earlier >= 0.4 for earlier, later in itertools.pairwise(asked)), asked
        kept = [line for line in agent.log.splitlines() if f"job {warm.info['uid']} goes on, idle for" in line]
        assert len(kept) == 1, "said once"
        assert "it is kept warm (warm)" in kept[0]
        await eventually(lambda: told.lines().count("broken") > 1)
        assert (await broken.refresh()).info["state"] == "RUNNING"

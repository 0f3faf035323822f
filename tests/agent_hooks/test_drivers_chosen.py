"""Which driver runs a job: the one that the configuration says, shown, and asked again at recovery and deletion."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from witness import Told, tell

from prouter import hookimpl
from prouter.client import RequestFailed
from prouter.model.ids import JobUid
from prouter.model.plugin import Driver, LaunchRequest, Running
from prouter.model.process import Exit
from prouter.model.services import AgentHost

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
PRINTS = [sys.executable, "-c", "import os; print(os.environ.get('RAN_BY'))"]


class Marking:
    """A driver that says in the environment that it was it, and tells what it is asked."""

    name = "marking"

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._guarded = agent.guarded

    @hookimpl
    def prouter_drivers(self) -> Sequence[Driver]:
        return [self]

    async def start(self, request: LaunchRequest) -> Running:
        tell(f"{self.name} starts")
        command = replace(request.command, env={**request.command.env, "RAN_BY": self.name})
        return await self._guarded.launch(replace(request, command=command))

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        tell(f"{self.name} recovers")
        return await self._guarded.recover(job, job_directory)

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        tell(f"{self.name} destroys")
        await self._guarded.destroy(job, job_directory)


class Other(Marking):
    name = "other"


async def test_the_usual_one_runs_jobs_where_nobody_says_another(fleet, told: Told) -> None:
    router = fleet.router()
    agent = fleet.agent(router, environ=told.environ, plugins={"marking": Marking})
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        assert (await job.explain())["driver"] == {"name": "process", "plugin": "process_driver"}
        await job.start(PRINTS, port_expected_count=0)
        await job.wait()
        assert b"".join([chunk async for chunk in job.output()]) == b"None\n"
        await job.remove()
    assert told.lines() == []


async def test_the_one_that_is_named_runs_jobs_and_is_shown(fleet, told: Told) -> None:
    router = fleet.router()
    agent = fleet.agent(router, "jobs.driver=marking", environ=told.environ, plugins={"marking": Marking})
    await router.agent_is_there(agent)
    async with router.client() as client:
        locator = {"type": "uid", "uid": agent.uid}
        shown = {"name": "marking", "plugin": "marking"}
        assert (await client.explain(locator))["driver"] == shown
        job = await client.create(locator, "job")
        await job.start(PRINTS, port_expected_count=0)
        await job.wait()
        assert b"".join([chunk async for chunk in job.output()]) == b"marking\n"
        assert (await job.explain())["driver"] == shown
        await job.remove()
        assert told.lines() == ["marking starts", "marking destroys"]
        await (await client.create(locator, "never started")).remove()
        assert told.lines() == ["marking starts", "marking destroys"], "it had nothing of that job"


async def test_a_job_is_recovered_by_the_driver_that_started_it(fleet, told: Told) -> None:
    fleet.expected_errors += ["no plugin offers its driver 'other'"]
    router = fleet.router()
    plugins = {"marking": Marking, "other": Other}
    agent = fleet.agent(router, "jobs.driver=other", environ=told.environ, plugins=plugins)
    await router.agent_is_there(agent)
    async with router.client() as client:
        locator = {"type": "uid", "uid": agent.uid}
        done = await client.create(locator, "done")
        await (await done.start(PRINTS, port_expected_count=0)).wait()
        job = await client.create(locator, "job")
        await job.start(SLEEPS, port_expected_count=0)
        agent.kill()
        told.clear()
        agent._arguments = [word.replace("jobs.driver=other", "jobs.driver=marking") for word in agent._arguments]
        agent.start()
        await router.agent_is_there(agent)
        assert told.lines() == ["other recovers"]
        assert (await job.refresh()).info["reason"] == "agent-lost"
        assert (await job.explain())["driver"] == {"name": "other", "plugin": "other"}
        told.clear()
        await done.restart()
        assert told.lines() == ["other destroys", "marking starts"], "nothing of the first run is left behind"
        await done.wait()

        second = await client.create(locator, "second")
        await second.start(SLEEPS, port_expected_count=0)
        agent.kill()
        told.clear()
        agent._arguments = [*agent._arguments, "--set", "plugins.disabled=['other']", "--set", "plugins.required=[]"]
        agent.start()
        await router.agent_is_there(agent)
        assert told.lines() == ["marking recovers"]
        assert (await job.explain())["driver"] == {"name": "other", "plugin": ""}
        await job.remove()
        assert told.lines() == ["marking recovers"]


async def test_a_driver_that_is_gone_leaves_a_job_lost_and_says_so(fleet, told: Told) -> None:
    fleet.expected_errors += ["no plugin offers its driver 'marking' any more"]
    router = fleet.router()
    agent = fleet.agent(router, "jobs.driver=marking", environ=told.environ, plugins={"marking": Marking})
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start(SLEEPS, port_expected_count=0)
        agent.kill()
        agent._arguments = [word.replace("jobs.driver=marking", "jobs.driver=process") for word in agent._arguments]
        agent._arguments += ["--set", "plugins.disabled=['marking']", "--set", "plugins.required=[]"]
        agent.start()
        await router.agent_is_there(agent)
        assert (await job.refresh()).info["reason"] == "agent-lost"
        assert f"what became of job {job.info['uid']} is not known: no plugin offers its driver 'marking'" in agent.log
        with pytest.raises(RequestFailed) as refused:
            await job.restart()
        assert "its sandbox was cleaned when the job was lost" in refused.value.detail
        await job.remove()


def test_a_name_that_nobody_offers_is_an_error_of_the_start_that_says_which_there_are(fleet) -> None:
    said = fleet.refused("agent", "--set", "jobs.driver=docker", status=2)
    assert "jobs.driver: no plugin offers the driver 'docker'; there are: process" in said


def test_of_several_without_the_usual_one_somebody_must_choose(tmp_path) -> None:
    from prouter.agent.jobs.drivers import Drivers
    from prouter.errors import ConfigError, NotPossible

    drivers = Drivers(None, 1)
    with pytest.raises(ConfigError, match=r"jobs.driver: which one\? there are: marking, other"):
        drivers.take([("a", [Marking()]), ("b", [Other()])], None)  # type: ignore[arg-type]
    alone = Drivers(None, 1)
    alone.take([("a", [Marking()])], None)  # type: ignore[arg-type]
    assert alone.chosen().name == "marking"
    with pytest.raises(NotPossible, match="process_driver is switched off"):
        Drivers(None, 1).chosen()

"""The fixtures that run in the test's own process: plugins and settings by marks, and nothing is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from prouter import hookimpl
from prouter.client import Job
from prouter.client.client import RequestFailed
from prouter.errors import ConfigError, NoAgent, StartupError
from prouter.model.ids import AgentUid
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.plugin import Candidate, Selector
from prouter.testing import AgentHere, AnyAgent, AnyRouter, Fleet, InProcess, RouterHere, Setup, here

HELLO = [sys.executable, "-c", "import os; print('hello', os.environ.get('GREETED', ''))"]


class ByName:
    name = "name"
    schema: Mapping[str, Any] = {"type": "object", "required": ["type", "name"]}

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        for candidate in candidates:
            if candidate.name == locator["name"]:
                return candidate.uid
        raise NoAgent("nobody has that name")


class Naming:
    """A plugin of the router."""

    @hookimpl
    def prouter_selectors(self) -> Sequence[Selector]:
        return [ByName()]


class Greeting:
    """A plugin of the agent."""

    @hookimpl
    def prouter_job_environment(
        self, env: Mapping[str, str], record: JobRecord, request: StartRequest
    ) -> Mapping[str, str]:
        return {**env, "GREETED": record.name}


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("broken from the beginning")


async def test_a_job_runs_on_an_agent_in_this_process(router: RouterHere, agent: AgentHere, job: Job) -> None:
    await job.start(HELLO, port_expected_count=0)
    assert (await job.wait()).info["exit_code"] == 0
    assert b"".join([chunk async for chunk in job.output()]) == b"hello \n"
    (agent.sandbox(job) / "note").write_text("there")
    assert await job.read("note") == b"there"
    assert job.info["agent"]["uid"] == agent.uid
    assert [found.uid for found in router.services.agents.list()] == [agent.uid]
    assert [record.uid for record in agent.services.jobs.list()] == [job.info["uid"]]
    assert "Listening on" in router.log


@pytest.mark.prouter(plugins=[Naming], agent_plugins={"greeter": Greeting()}, agent_settings=["identity.name='lab'"])
async def test_plugins_are_classes_or_instances_of_the_test(router: RouterHere, agent: AgentHere) -> None:
    async with router.client() as client:
        job = await client.create({"type": "name", "name": "lab"}, "you")
        await job.start(HELLO, port_expected_count=0)
        await job.wait()
        assert b"".join([chunk async for chunk in job.output()]) == b"hello you\n"
        with pytest.raises(RequestFailed, match="nobody has that name"):
            await client.create({"type": "name", "name": "other"})
        shown = {plugin["name"]: plugin for plugin in (await client.info())["plugins"]}
    assert shown["Naming"]["state"] == "loaded"
    assert isinstance(router.plugin("Naming"), Naming)
    assert isinstance(agent.plugin("greeter"), Greeting)


@pytest.mark.prouter(
    processes=True, plugins={"naming": Naming}, agent_plugins=[Greeting], agent_settings=["identity.name='lab'"]
)
async def test_the_same_story_with_real_processes(router: AnyRouter, agent: AnyAgent) -> None:
    assert not isinstance(router, RouterHere)
    async with router.client() as client:
        job = await client.create({"type": "name", "name": "lab"}, "you")
        await job.start(HELLO, port_expected_count=0)
        await job.wait()
        assert b"".join([chunk async for chunk in job.output()]) == b"hello you\n"
        shown = {plugin["name"]: plugin for plugin in (await client.info())["plugins"]}
    assert shown["naming"]["state"] == "loaded"
    assert "Listening on" in router.log


@pytest.mark.prouter(settings=["identity.name='named'"])
class TestMarks:
    @pytest.fixture
    def prouter_setup(self) -> Setup:
        return Setup(plugins=[Naming])

    @pytest.mark.prouter(settings=["jobs.orphan_timeout=77"], plugins=["prouter.plugins.health:Health"])
    async def test_marks_and_the_fixture_add_up(self, router: RouterHere) -> None:
        assert router.services.identity.name == "named"
        assert router.services.config.section("jobs")["orphan_timeout"] == 77
        assert router.plugins()["Naming"]["state"] == "loaded"
        assert router.plugins()["health"]["state"] == "loaded"


@pytest.mark.prouter(
    settings=["control.tokens=['a-token-for-the-test-0123456789abcdef']"], token="a-token-for-the-test-0123456789abcdef"
)
async def test_a_job_is_made_with_the_token_that_the_setup_names(job: Job) -> None:
    assert job.info["state"] == "NEW"


async def test_many_routers_and_agents(in_process: InProcess) -> None:
    first, second = await in_process.router(), await in_process.router()
    one, two = await in_process.agent(first), await in_process.agent(second)
    assert [found.uid for found in first.services.agents.list()] == [one.uid]
    assert [found.uid for found in second.services.agents.list()] == [two.uid]


async def test_a_plugin_that_is_given_is_required(in_process: InProcess) -> None:
    in_process.expected_errors.append("can not be loaded")
    with pytest.raises(StartupError, match="broken from the beginning"):
        await in_process.router(plugins=[Broken])
    with pytest.raises(ConfigError, match="no such parameter"):
        await in_process.router("nonsense.parameter=1")
    with pytest.raises(TypeError, match="use one of them"):
        await in_process.router("plugins.load=['x']", plugins=[Naming])


async def test_a_plugin_in_a_file(in_process: InProcess, tmp_path: Path) -> None:
    text = "from prouter import hookimpl\nclass Small:\n    @hookimpl\n    def prouter_shutdown(self): ...\n"
    (tmp_path / "small.py").write_text(text)
    router = await in_process.router(plugins=[tmp_path / "small.py"])
    assert router.plugins()["small"]["state"] == "loaded"


async def test_an_installed_class_has_the_name_of_its_entry_point(in_process: InProcess) -> None:
    from prouter.plugins.health import Health

    router = await in_process.router(plugins=[Health()])
    assert "Health" not in router.plugins()


async def test_an_installed_class_is_not_loaded_twice_by_a_process(fleet: Fleet) -> None:
    from prouter.plugins.health import Health

    for given in ({"health": Health}, [Health], ["prouter.plugins.health:Health"]):
        async with fleet.router(plugins=given).client() as client:
            names = [plugin["name"] for plugin in (await client.info())["plugins"]]
        assert names.count("health") == 1
        assert "Health" not in names


async def test_an_error_line_fails_the_test_unless_it_is_expected(tmp_path: Path) -> None:
    import logging

    with pytest.raises(AssertionError, match="something broke"):
        async with InProcess(tmp_path):
            logging.getLogger("prouter.some.plugin").error("something broke")
    async with InProcess(tmp_path) as house:
        house.expected_errors.append("something broke")
        logging.getLogger("prouter.some.plugin").error("something broke")


async def test_a_process_that_is_left_fails_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "GONE_SECONDS", 0.2)
    left = None
    try:
        with pytest.raises(AssertionError, match="the end of all jobs"):
            async with InProcess(tmp_path):
                left = await asyncio.create_subprocess_exec("sleep", "600")
    finally:
        assert left is not None
        left.kill()
        await left.wait()


async def test_jobs_end_with_their_agent(tmp_path: Path) -> None:
    from prouter.testing.processes import tagged_processes

    async with InProcess(tmp_path) as house:
        router = await house.router()
        agent = await house.agent(router)
        async with router.client() as client:
            job = await client.create({"type": "uid", "uid": agent.uid})
            await job.start([sys.executable, "-c", "import time; time.sleep(600)"], port_expected_count=0)
            assert job.info["pid"] in tagged_processes(house.tag)
            await agent.stop()
            assert not tagged_processes(house.tag)
    assert len(asyncio.all_tasks()) <= 2, asyncio.all_tasks()

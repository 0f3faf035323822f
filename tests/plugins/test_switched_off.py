"""Any plugin can be switched off, and all of them: what is left works, what is missing is named."""

from __future__ import annotations

import sys

import aiohttp
import pytest
from switching import OWN_REQUESTS, built_in, missing, off

from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

AGENT_GROUP = "prouter.agent_plugins"
SERVED = {"archive_transfer": "/archive", "job_output": "/output"}
"""Plugins whose agent's half answers a path of the job, and that path."""
AGENT_PLUGINS = ["file_transfer", "job_environment", "process_driver", *SERVED]


async def test_a_router_without_any_plugin_says_what_it_is_and_refuses_the_rest(fleet: Fleet) -> None:
    router = fleet.daemon(*off(*built_in()))
    async with aiohttp.ClientSession() as session:
        async with session.get(router.url() + "/info") as answer:
            info = await answer.json()
        assert answer.status == 200
        assert {plugin["name"] for plugin in info["plugins"] if plugin["state"] == "disabled"} == built_in()
        for plugin in OWN_REQUESTS:
            said = await missing(session, router.url(), plugin)
            assert plugin in said
            assert "jobs_api (disabled)" in said
        async with session.post(router.url() + "/shutdown") as answer:
            assert answer.status == 404
    assert router.stop() == 0


async def test_a_router_without_any_plugin_lets_no_agent_in(fleet: Fleet) -> None:
    router = fleet.daemon(*off(*built_in()))
    host, port = router.address("server")
    address = ["--set", "client.enabled=True", "--set", f"client.address={host}:{port}"]
    fleet.daemon("agent", *address, environ={"PAGENT_CLIENT__TOKEN": "any"})
    await eventually(lambda: "no authenticator knows this agent's credentials" in router.log)


def test_every_built_in_of_the_router_has_a_request_of_its_own_here() -> None:
    assert built_in() - {"token_auth"} <= set(OWN_REQUESTS)


@pytest.mark.parametrize("plugin", sorted(OWN_REQUESTS))
async def test_a_plugin_switched_off_takes_its_own_feature_with_it_and_no_other(fleet: Fleet, plugin: str) -> None:
    if plugin not in built_in():
        pytest.skip("it does not ship")
    router = fleet.daemon(*off(plugin))
    others = [other for other in OWN_REQUESTS if other in built_in() - {plugin}]
    if plugin == "jobs_api":
        others = [other for other in others if not other.startswith("selector_")]
    async with aiohttp.ClientSession() as session:
        said = await missing(session, router.url(), plugin)
        assert plugin.removeprefix("selector_") in said
        for other in others:
            assert await missing(session, router.url(), other) == "", other


def test_tokens_without_the_plugin_that_checks_them_do_not_start(fleet: Fleet) -> None:
    said = fleet.refused("--no-plugin", "token_auth", "--set", "control.tokens=['some-token']")
    assert "control.tokens: there is no such parameter" in said


async def lame_agent(fleet: Fleet, *plugins: str) -> tuple[RouterDaemon, AgentDaemon]:
    router = fleet.router()
    agent = fleet.agent(router, flags=tuple(off(*plugins)))
    await router.agent_is_there(agent)
    return router, agent


async def test_an_agent_without_any_plugin_is_there_and_starts_nothing(fleet: Fleet) -> None:
    router, agent = await lame_agent(fleet, *built_in(AGENT_GROUP))
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "lame")
        with pytest.raises(RequestFailed, match="process_driver") as refused:
            await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        assert refused.value.http_status == 501
        with pytest.raises(RequestFailed) as refused:
            await job.read("x")
        assert refused.value.http_status in (404, 501)
        assert "file_transfer" in str(refused.value)
        await job.remove()
    assert agent.stop() == 0


@pytest.mark.parametrize("plugin", AGENT_PLUGINS)
async def test_a_plugin_of_the_agent_switched_off_takes_its_own_feature_only(fleet: Fleet, plugin: str) -> None:
    router, agent = await lame_agent(fleet, plugin)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "lame")
        if plugin == "process_driver":
            with pytest.raises(RequestFailed, match=plugin):
                await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        else:
            await job.start([sys.executable, "-c", "open('made', 'w').write('x')"], port_expected_count=0)
            assert (await job.wait()).info["exit_code"] == 0
            assert (agent.sandbox(job) / "made").exists()
        (agent.sandbox(job) / "there").write_text("there")
        for other, path in SERVED.items():
            async with client.session.get(f"{client.url}{job.path}{path}") as answer:
                said = await answer.read()
                assert answer.status == (404 if plugin == other else 200)
                assert plugin != other or plugin.encode() in said
        if plugin == "file_transfer":
            with pytest.raises(RequestFailed, match=plugin):
                await job.read("there")
        else:
            assert await job.read("there") == b"there"

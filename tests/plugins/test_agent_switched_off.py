"""Any plugin of the agent can be switched off, and all of them: precisely its own feature goes, and says so."""

from __future__ import annotations

import sys

import pytest
from bare_peer import greeted
from switching import built_in, off

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, RouterDaemon

BUILT_IN = built_in("prouter.agent_plugins")
PATHS = {"archive_transfer": "/archive", "file_transfer": "/file/there", "job_output": "/output"}
"""What the agent's half of a plugin serves, below the job's path."""
UNARY, UPLOAD, DOWNLOAD, BOTH_WAYS = 20, 40, 30, 50
METHODS = {
    "clean_up": [("clean_up_outlook", UNARY)],
    "debug_state": [("debug_state", UNARY)],
    "file_transfer": [("file_upload", UPLOAD), ("file_download", DOWNLOAD)],
    "archive_transfer": [("archive_upload", UPLOAD), ("archive_download", DOWNLOAD)],
    "original_proxy": [("http_request", BOTH_WAYS), ("ws_connect", BOTH_WAYS)],
}
"""What routers, originals mostly, ask of a plugin over the link, by the kind of the call."""
NO_METHOD = 20
KEPT_BACK = "LAB_SECRET"
"""A variable of the agent that jobs do not get."""
SHOWS = f"import os; open('shown', 'w').write(str({KEPT_BACK!r} in os.environ))"


def test_each_plugin_of_the_agent_has_a_feature_that_is_looked_at_here() -> None:
    assert {*PATHS, *METHODS, "job_environment", "process_driver", "idle_culling"} == BUILT_IN


async def lame_agent(fleet: Fleet, *plugins: str) -> tuple[RouterDaemon, AgentDaemon]:
    """An agent without these, with a setting of idle_culling where that is there."""
    router = fleet.router()
    settings = [] if "idle_culling" in plugins else ["jobs.idle_timeout=1000"]
    agent = fleet.agent(router, *settings, flags=tuple(off(*plugins)), environ={KEPT_BACK: "hunter2"})
    await router.agent_is_there(agent)
    return router, agent


async def unserved_paths(client: Client, job: Job) -> set[str]:
    """Plugins whose path of the job nobody serves; the answer names them."""
    unserved = set()
    for plugin, path in PATHS.items():
        async with client.session.get(f"{client.url}{job.path}{path}") as answer:
            said = await answer.text()
        assert answer.status in (200, 404), said
        if answer.status == 404:
            assert f"{plugin} (disabled)" in said
            unserved.add(plugin)
    return unserved


async def unknown_methods(agent: AgentDaemon) -> set[str]:
    """Plugins none of whose methods an original router could call."""
    host, port = agent.address("server")
    unknown = set()
    async with greeted(f"{host}:{port}", agent.token) as peer:
        for number, (plugin, method, kind) in enumerate((p, *m) for p, methods in METHODS.items() for m in methods):
            result = await peer.call(10 + number, method, "no such job", "x", "/", [], [], call_type=kind)
            if result[3] == NO_METHOD:
                assert f"there is no method '{method}'" in result[4][0]
                unknown.add(plugin)
            else:
                assert plugin not in unknown
    return unknown


async def test_an_agent_without_any_plugin_is_there_and_starts_nothing(fleet: Fleet) -> None:
    router, agent = await lame_agent(fleet, *BUILT_IN)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "lame")
        with pytest.raises(RequestFailed, match="process_driver") as refused:
            await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        assert refused.value.http_status == 501
        assert await unserved_paths(client, job) == set(PATHS)
        await job.remove()
    assert await unknown_methods(agent) == set(METHODS)
    assert agent.stop() == 0


@pytest.mark.parametrize("plugin", sorted(BUILT_IN))
async def test_a_plugin_of_the_agent_switched_off_takes_its_own_feature_only(fleet: Fleet, plugin: str) -> None:
    router, agent = await lame_agent(fleet, plugin)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "lame")
        (agent.sandbox(job) / "there").write_text("there")
        if plugin == "process_driver":
            with pytest.raises(RequestFailed, match=plugin):
                await job.start([sys.executable, "-c", SHOWS], port_expected_count=0)
        else:
            await job.start([sys.executable, "-c", SHOWS], port_expected_count=0)
            assert (await job.wait()).info["exit_code"] == 0
            assert (agent.sandbox(job) / "shown").read_text() == str(plugin == "job_environment")
        assert await unserved_paths(client, job) == {plugin} & set(PATHS)
        assert await unknown_methods(agent) == {plugin} & set(METHODS)


def test_the_setting_of_a_plugin_of_the_agent_goes_with_it(fleet: Fleet) -> None:
    for plugin, setting in (("idle_culling", "jobs.idle_timeout"), ("job_environment", "jobs.environment.keep")):
        said = fleet.refused("agent", *off(plugin), "--set", f"{setting}=1")
        assert f"{setting}: there is no such parameter" in said

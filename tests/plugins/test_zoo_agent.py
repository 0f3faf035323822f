"""Broken plugins of an agent: left out whole and named while it starts; later they break what they were asked for."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from zoo import CLASS, LEFT_OUT, WAYS, Animal, returning, settle_in, switched

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, eventually

OF_BOTH = ("at_import", "exits_at_import", "no_python", "lonely", "empty", "from_the_future", "rubbish_sections")
"""Animals of the router's that are broken on an agent in the same way."""
DRIVER = CLASS.format(
    body="""
    name = "process"
    async def start(self, request): ...
    async def recover(self, job, job_directory): ...
    @hookimpl
    def prouter_drivers(self):
        return [self]
    @hookimpl
    def prouter_job_environment(self):
        raise RuntimeError("a half of a plugin is there")
"""
)
METHOD = """
from prouter import hookimpl
from prouter.model.plugin import RpcKind, RpcMethod

class Animal:
    @hookimpl
    def prouter_rpc_methods(self):
        async def handler(stream): ...
        return [RpcMethod({name!r}, RpcKind.UNARY, handler)]
"""
AGENTS_OWN = [
    Animal("takes_a_driver", DRIVER, "driver 'process' is claimed by 'process_driver' (prouter "),
    Animal("takes_a_method", METHOD.format(name="job_create"), "has a name that is kept for the agent itself"),
    Animal("second_method", METHOD.format(name="feed"), "method 'feed' is claimed by 'first_method' ("),
    Animal(
        "takes_a_path", returning("prouter_agent_routes", "[route('/jobs/{job}/output')]"), "claimed by 'job_output'"
    ),
    Animal("no_driver", returning("prouter_drivers", "[5]"), "answered list of int instead of Sequence of Driver"),
    Animal("of_the_router", returning("prouter_selectors", "[]"), "there is no hook prouter_selectors"),
]


async def run(client: Client, agent: AgentDaemon) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "of the zoo")
    await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
    assert (await job.wait()).info["exit_code"] == 0
    return job


async def test_what_breaks_while_an_agent_loads_it_is_left_out_whole_and_named(fleet: Fleet, tmp_path: Path) -> None:
    animals = [*(animal for animal in LEFT_OUT if animal.name in OF_BOTH), *AGENTS_OWN]
    texts = {animal.name: animal.text for animal in animals} | {"first_method": METHOD.format(name="feed")}
    fleet.expected_errors += ["left out: "]
    router = fleet.router()
    agent = fleet.agent(router, f"plugins.load={settle_in(tmp_path, texts)!r}")
    await router.agent_is_there(agent)
    for animal in animals:
        line = next(line for line in agent.log.splitlines() if f"plugin {animal.name} " in line)
        assert "left out: " in line
        assert animal.why in line
    assert "plugin first_method" not in agent.log
    async with router.client() as client:
        await run(client, agent)


PROVOKED = {
    "prouter_prepare_sandbox": "create",
    "prouter_job_environment": "start",
    "prouter_before_file_write": "upload",
    "prouter_cleanup_sandbox": "remove",
    "prouter_job_ended": "end",
}
"""A hook of each kind that is asked while an agent runs, and what is done then: setup, chain, veto, gather, notify."""
WITHOUT_ANSWER = ("prouter_prepare_sandbox", "prouter_cleanup_sandbox", "prouter_job_ended")
"""What they answer interests nobody."""
NOBODY_WAITS = ("prouter_cleanup_sandbox", "prouter_job_ended")


async def test_a_plugin_that_breaks_while_an_agent_runs_breaks_what_it_was_asked_for(
    fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "mode").write_text("nothing")
    (path,) = settle_in(tmp_path, {"switched": switched(*PROVOKED)})
    fleet.expected_errors += ["plugin switched ", "Traceback"]
    router = fleet.router()
    deadlines = dict.fromkeys(PROVOKED, 0.2)
    bounds = [f"plugins.deadlines={deadlines!r}", "plugins.blocked_seconds=0.3"]
    agent = fleet.agent(router, f"plugins.load=[{path!r}]", *bounds)
    await router.agent_is_there(agent)
    async with router.client() as client:
        for hook in PROVOKED:
            for way in WAYS:
                if hook not in WITHOUT_ANSWER or way != "says rubbish":
                    await breaks(client, agent, tmp_path / "mode", hook, way)
            await run(client, agent)


async def breaks(client: Client, agent: AgentDaemon, mode: Path, hook: str, way: str) -> None:
    """Only what was asked for, named in the log and, where somebody waits, to who waits."""
    before = len(agent.log)
    job = await client.create({"type": "uid", "uid": agent.uid}, "of the zoo")
    mode.write_text(f"{hook} {way}")
    if way == "blocks" or hook in NOBODY_WAITS:
        await provoked(client, agent, job)[PROVOKED[hook]]()
    else:
        with pytest.raises(RequestFailed, match=f"plugin 'switched' failed in {hook} after ") as failed:
            await provoked(client, agent, job)[PROVOKED[hook]]()
        assert failed.value.http_status == 500
        assert "hidden-words" not in str(failed.value)
    line = f"plugin switched {'held the event loop for ' if way == 'blocks' else f'failed in {hook} after '}"
    await eventually(lambda: line in agent.log[before:], what=line)
    mode.write_text("nothing")


def provoked(client: Client, agent: AgentDaemon, job: Job) -> dict[str, Callable[[], Awaitable[object]]]:
    async def end() -> None:
        await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        await job.wait()

    async def upload() -> None:
        async with client.session.put(f"{client.url}{job.path}/file/x", data=b"x") as answer:
            if answer.status >= 400:
                problem = await answer.json()
                raise RequestFailed(answer.status, problem)

    return {
        "create": lambda: client.create({"type": "uid", "uid": agent.uid}, "of the zoo"),
        "start": lambda: job.start([sys.executable, "-c", "pass"], port_expected_count=0),
        "upload": upload,
        "remove": job.remove,
        "end": end,
    }

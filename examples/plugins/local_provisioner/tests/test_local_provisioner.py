"""Agents that are started when none fits, as real processes, by a live router."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from prouter.client import RequestFailed
from prouter.errors import ConfigError
from prouter.testing import Fleet, InProcess, RouterHere, Setup, assert_contract, eventually
from prouter.testing.contracts import samples
from prouter.testing.processes import tagged_processes

NAME = "local_provisioner"
ANYWHERE = {"type": "labels", "match": {"where": "local"}}


@pytest.fixture
def prouter_setup() -> Setup:
    settings = [
        f"access.authenticators=['{NAME}', 'token_auth']",
        f"{NAME}.settings=['jobs.capacity=1', 'properties.where=local']",
        f"{NAME}.max_agents=1",
    ]
    return Setup(settings=settings)


def places(router: RouterHere) -> list[Path]:
    return list((router.services.state_directory.parent / NAME).glob("local-*"))


def processes(router: RouterHere) -> list[Any]:
    return [agent.process for agent in router.plugin(NAME)._agents.values()]


@pytest.mark.prouter(settings=[f"{NAME}.idle_seconds=0.6"])
async def test_an_agent_comes_for_a_job_and_goes_when_there_is_none(router: RouterHere) -> None:
    async with router.client() as client:
        assert (await client.explain(ANYWHERE))["would_provision"] == [NAME]
        assert not places(router)
        job = await client.create(ANYWHERE, "first")
        uid = job.info["agent"]["uid"]
        assert uid.startswith("local-")
        await eventually(lambda: f"by plugin {NAME}: starting agent {uid} on the router's machine" in router.log)
        await job.start([sys.executable, "-c", "import time; time.sleep(1.5)"], port_expected_count=0)
        await job.wait()  # longer than an agent may be idle
        assert [place.name for place in places(router)] == [uid]
        (process,) = processes(router)
        await eventually(lambda: process.returncode is not None)
        await eventually(lambda: not places(router))
        assert not processes(router)


async def test_there_are_only_so_many_and_they_end_with_the_router(router: RouterHere, in_process: InProcess) -> None:
    async with router.client() as client:
        answers = await asyncio.gather(*(client.create(ANYWHERE) for _ in range(2)), return_exceptions=True)
        (refused,) = [answer for answer in answers if isinstance(answer, RequestFailed)]
        assert refused.http_status == 503
        reason = "1 agents that were started here run already, which is the limit"
        assert refused.problem["considered"][-1] == {"agent": None, "plugin": NAME, "reason": reason}
        with pytest.raises(RequestFailed) as unknown:
            await client.create({"type": "uid", "uid": "nobody"})
        assert unknown.value.http_status == 404
        (agent,) = await client.agents()
        await in_process.agent(router, f"identity.uid={agent['uid']!r}", joins=False)  # its token is the router's
        await eventually(lambda: "this uid is another's" in router.log)
        plugin = router.plugin(NAME)
        right = samples.a_hello(plugin._agents[agent["uid"]].token.reveal(), uid=agent["uid"])
        wrong = [samples.a_hello(router.agent_token, uid=agent["uid"]), samples.a_hello(right.token, uid="another")]
        await assert_contract(plugin, "agent authenticator", right=[right], wrong=wrong)
        assert [found["connected"] for found in await client.agents()] == [True]
    (process,) = processes(router)
    await router.stop()
    assert process.returncode == 0
    assert not places(router)


@pytest.mark.prouter(settings=[f"{NAME}.settings=['no.such=1']"])
async def test_an_agent_that_ends_at_once_is_a_refusal(router: RouterHere) -> None:
    async with router.client() as client:
        with pytest.raises(RequestFailed, match="ended at once") as refused:
            await client.create(ANYWHERE)
        assert refused.value.http_status == 503
    assert "no.such" in (router.services.state_directory.parent / NAME / "agents.log").read_text()
    await eventually(lambda: not places(router))


async def test_a_router_that_is_killed_leaves_no_agent_behind(fleet: Fleet, prouter_setup: Setup) -> None:
    router = fleet.router(*prouter_setup.settings)
    async with router.client() as client:
        await client.create(ANYWHERE)
        assert tagged_processes(fleet.tag)
        router.kill()
        await eventually(lambda: not tagged_processes(fleet.tag))


@pytest.mark.parametrize("names", [[], ["token_auth"], ["token_auth", NAME]])
async def test_who_does_not_ask_it_who_agents_are_is_told_at_the_start(in_process: InProcess, names: list[str]) -> None:
    with pytest.raises(ConfigError, match="before token_auth"):
        await in_process.router(f"access.authenticators={names!r}")

"""No agent fits: plugins start one, the job waits for it, and everybody can see how far it is. All of it is bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from choosers import explained_in_words, locator, router_with

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.core.provisioning import MAX_TOLD
from prouter.testing import Fleet, RouterDaemon, eventually

ANYWHERE = {"type": "labels", "match": {}}
STARTER = """
    @hookimpl
    async def prouter_provision_agent(self, request, considered, progress):
        want = request.labels["want"]
        with (HERE / "asked").open("a") as file:
            file.write(f"{want} {dict(considered)}" + chr(10))
        if want == "nothing":
            return None
        if want == "refusal":
            return Refusal("the cluster is full")
        if want == "rubbish":
            return 5
        if want == "mistake":
            raise RuntimeError("hidden-words")
        progress("starting a node\\nof the cluster")
        if want == "flood":
            for number in range(1000):
                progress(f"sentence {number} " + "x" * 1000)
            return Refusal("enough was said")
        if want == "late":
            asyncio.get_running_loop().call_later(0.05, progress, "after the end")
            return Refusal("it says more later")
        if request.name == "the second waits" and len((HERE / "asked").read_text().splitlines()) == 2:
            while not (HERE / "go").exists():
                await asyncio.sleep(0.02)
        if want == "for ever":
            try:
                await asyncio.Event().wait()
            finally:
                (HERE / "cancelled").touch()
        return want
"""


class Asked:
    """A router with the plugin `starter`, which does what a job's label `want` says."""

    def __init__(self, router: RouterDaemon, place: Path) -> None:
        self.router = router
        self.place = place

    @property
    def times(self) -> list[str]:
        file = self.place / "asked"
        return file.read_text().splitlines() if file.exists() else []

    async def create(self, client: Client, want: str, agent: dict[str, Any] = ANYWHERE, **more: Any) -> Any:
        """Status, headers, document."""
        body = {"agent": agent, "name": "solve", "labels": {"want": want}} | more
        async with client.session.post(f"{client.url}/jobs/create", json=body) as answer:
            return answer.status, answer.headers, await answer.json()


def starter(fleet: Fleet, place: Path, *settings: str) -> Asked:
    return Asked(router_with(fleet, place, *settings, starter=STARTER), place)


@asynccontextmanager
async def told(client: Client) -> AsyncIterator[Any]:
    """Events of the kind agent-provisioning, one by one."""

    async def news(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
        kind = ""
        async for line in answer.content:
            word, _, value = line.decode().rstrip("\n").partition(": ")
            kind = value if word == "event" else kind
            if word == "data" and kind == "agent-provisioning":
                yield json.loads(value)

    async with client.session.get(f"{client.url}/events") as answer:
        await answer.content.readline()
        found = news(answer)
        async with asyncio.timeout(60):
            yield found
        await found.aclose()


async def test_a_job_waits_for_the_agent_that_is_started_for_it(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    other = fleet.agent(asked.router, "properties.gpu='none'")
    await asked.router.agent_is_there(other)
    wanted = {"type": "labels", "match": {"gpu": "a100"}}
    async with asked.router.client() as client, told(client) as events:
        job = asyncio.create_task(asked.create(client, "node-1", wanted))
        first, second = await anext(events), await anext(events)
        assert first["detail"] == "starting a node of the cluster"
        assert (first["plugin"], first["job"]["name"], first["job"]["uid"]) == ("starter", "solve", None)
        assert second["detail"] == "agent node-1 is waited for"
        assert not job.done()
        fleet.agent(asked.router, "identity.uid='node-1'", "properties.gpu='a100'")
        status, _, made = await job
        assert (status, made["agent"]["uid"]) == (200, "node-1")
        assert (await anext(events))["detail"] == "agent node-1 is connected"
        trail = (await client.request("GET", f"{made['path']}/explain"))["creation"]
    assert asked.times == [f"node-1 {{'{other.uid}': \"its property 'gpu' is 'none', not 'a100'\"}}"]
    line = "an agent for job 'solve', by plugin starter: starting a node of the cluster"
    await eventually(lambda: line in asked.router.log)
    (decision,) = [d for d in trail["decisions"] if d["hook"] == "prouter_provision_agent"]
    assert (decision["plugin"], decision["outcome"]) == ("starter", "answered")


async def test_two_jobs_at_once_ask_for_one_each(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    async with asked.router.client() as client:
        jobs = [asyncio.create_task(asked.create(client, f"node-{number}")) for number in (1, 2)]
        await eventually(lambda: len(asked.times) == 2)
        for number in (1, 2):
            fleet.agent(asked.router, f"identity.uid='node-{number}'")
        assert [status for status, _, _ in await asyncio.gather(*jobs)] == [200, 200]


async def test_where_nobody_starts_one_the_refusal_is_as_ever(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    plain = fleet.router()
    wanted: list[tuple[dict[str, Any], int]] = [(ANYWHERE, 503), ({"type": "uid", "uid": "x"}, 404)]
    wanted += [({"type": "select", "uids": ["x"]}, 404), ({"type": "address", "address": "127.0.0.1:1"}, 404)]
    async with asked.router.client() as client, plain.client() as other:
        for agent, status in wanted:
            found, _, problem = await asked.create(client, "nothing", agent)
            expected, _, before = await asked.create(other, "nothing", agent)
            assert (found, problem) == (expected, before)
            assert found == status
    assert len(asked.times) == len(wanted)


async def test_a_refusal_ends_it_with_its_reason_beside_the_others(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    agent = fleet.agent(asked.router)
    await asked.router.agent_is_there(agent)
    async with asked.router.client() as client, told(client) as events:
        await client.drain(agent.uid)
        for where in (ANYWHERE, {"type": "uid", "uid": "nobody"}):
            status, headers, problem = await asked.create(client, "refusal", where)
            assert (status, problem["type"], problem["retryable"]) == (503, "urn:prouter:no-agent", True)
            assert "Retry-After" in headers
            assert "starter starts none: the cluster is full" in problem["detail"]
            mine = {"agent": None, "plugin": "starter", "reason": "the cluster is full"}
            assert problem["considered"][-1] == mine
            assert [entry["agent"] for entry in problem["considered"][:-1]] == (
                [agent.uid] if where is ANYWHERE else []
            )
            assert (await anext(events))["detail"] == "no agent is started: the cluster is full"


async def test_a_plugin_that_fails_fails_the_job_by_name(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    fleet.expected_errors += ["starter", "Traceback", "no job is made"]
    async with asked.router.client() as client:
        for want in ("rubbish", "mistake"):
            status, _, problem = await asked.create(client, want)
            assert (status, problem["type"]) == (500, "urn:prouter:plugin-failure")
            assert "'starter' failed in prouter_provision_agent" in problem["detail"]
            assert "hidden-words" not in str(problem)


async def test_a_selector_that_chooses_no_uid_is_told_in_one_line(fleet: Fleet, tmp_path: Path) -> None:
    text = """
    name, plugin, schema, requirements = "odd", "odd_choice", True, ()
    @hookimpl
    def prouter_selectors(self): return [self]
    async def choose(self, locator, candidates): return 7
"""
    router = router_with(fleet, tmp_path, odd_choice=text)
    fleet.expected_errors += ["odd_choice"]
    async with router.client() as client:
        with pytest.raises(RequestFailed) as failed:
            await client.create({"type": "odd"})
    assert (failed.value.http_status, failed.value.problem["type"]) == (500, "urn:prouter:plugin-failure")
    assert failed.value.problem["detail"].endswith("it chose int instead of an agent's uid")
    assert "'odd_choice' failed in choose: it chose int instead of an agent's uid" in router.log
    assert "Traceback" not in router.log


async def test_nobody_waits_for_longer_than_the_setting_says(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path, "selection.provision_timeout=0.5")
    whys = {"node-1": "'node-1' of plugin starter did not", "for ever": "plugin starter started no agent"}
    async with asked.router.client() as client:
        for want, why in whys.items():
            assert not (tmp_path / "cancelled").exists()
            status, headers, problem = await asked.create(client, want)
            assert (status, "Retry-After" in headers) == (503, True)
            assert why in problem["detail"]
            assert "within 0.5 s" in problem["detail"]
            assert problem["considered"][-1]["plugin"] == "starter"
    assert (tmp_path / "cancelled").exists()


async def test_a_second_refusal_of_the_selector_is_the_last_word(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    agent = fleet.agent(asked.router, "properties.gpu='none'")
    await asked.router.agent_is_there(agent)
    async with asked.router.client() as client:
        status, _, problem = await asked.create(client, agent.uid, {"type": "labels", "match": {"gpu": "a100"}})
    assert (status, [entry["agent"] for entry in problem["considered"]]) == (503, [agent.uid])
    assert len(asked.times) == 1


async def test_who_goes_away_is_waited_for_by_nobody(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path, "selection.max_provisioning=1")
    async with asked.router.client() as client:
        job = asyncio.create_task(asked.create(client, "for ever"))
        await eventually(lambda: asked.times)
        job.cancel()
        await asyncio.wait([job])
        await eventually((tmp_path / "cancelled").exists)
        status, _, problem = await asked.create(client, "refusal")
        assert (status, "the cluster is full" in problem["detail"]) == (503, True)


async def test_only_so_many_wait_and_the_others_are_told_to_come_back(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path, "selection.max_provisioning=1")
    async with asked.router.client() as client:
        job = asyncio.create_task(asked.create(client, "node-1"))
        await eventually(lambda: asked.times)
        status, headers, problem = await asked.create(client, "node-2")
        assert (status, headers["Retry-After"]) == (503, "10")
        assert "selection.max_provisioning" in problem["detail"]
        assert len(asked.times) == 1
        fleet.agent(asked.router, "identity.uid='node-1'")
        assert (await job)[0] == 200


async def test_nobody_waits_when_the_router_ends(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    async with asked.router.client() as client:
        jobs = [asyncio.create_task(asked.create(client, want)) for want in ("for ever", "node-1")]
        await eventually(lambda: len(asked.times) == 2)
        ended = asyncio.create_task(asyncio.to_thread(asked.router.stop))
        for status, headers, problem in await asyncio.gather(*jobs):
            assert (status, "Retry-After" in headers) == (503, True)
            assert "the router is ending" in problem["detail"]
        assert await ended == 0


async def test_a_dry_run_says_who_would_be_asked_and_asks_nobody(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    async with asked.router.client() as client:
        found = await client.explain(ANYWHERE)
        assert found["would_provision"] == ["starter"]
        assert (found["chosen"], found["refused"]["status"]) == (None, 503)
        fleet.agent(asked.router)
        await eventually(client.agents)
        words = await asyncio.to_thread(explained_in_words, asked.router, locator("uid", uid="nobody"))
        assert "would provision: starter" in words
        assert (await client.explain(ANYWHERE))["would_provision"] == []
    assert asked.times == []


async def test_the_same_request_asked_again_meanwhile_makes_one_job(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    chosen = "0123456789abcdef" * 2
    async with asked.router.client() as client:
        jobs = []
        for number in (1, 2):
            jobs.append(asyncio.create_task(asked.create(client, "node-1", name="the second waits", uid=chosen)))
            await eventually(lambda number=number: len(asked.times) == number)
        fleet.agent(asked.router, "identity.uid='node-1'")
        assert (await jobs[0])[2]["agent"]["uid"] == "node-1"
        await asked.router.agent_is_there(fleet.agent(asked.router))  # the least loaded now
        (tmp_path / "go").touch()
        status, _, made = await jobs[1]
        assert (status, made["uid"], made["agent"]["uid"]) == (200, chosen, "node-1")
        assert len(await client.jobs()) == 1


async def test_what_a_plugin_says_is_bounded_and_nobody_listens_after_the_end(fleet: Fleet, tmp_path: Path) -> None:
    asked = starter(fleet, tmp_path)
    async with asked.router.client() as client, told(client) as events:
        assert (await asked.create(client, "flood"))[0] == 503
        said = [(await anext(events))["detail"] for _ in range(MAX_TOLD + 1)]
        assert said[1].startswith("sentence 0 xxx")
        assert len(said[1]) <= 300
        assert said[-1] == "no agent is started: enough was said"
        await asked.create(client, "late")
        assert [(await anext(events))["detail"] for _ in range(2)][-1] == "no agent is started: it says more later"
        await asyncio.sleep(0.2)  # nothing may come: there is no state to wait for
        await asked.create(client, "refusal")
        assert (await anext(events))["detail"] == "no agent is started: the cluster is full"


async def test_observers_of_other_people_are_told(fleet: Fleet, tmp_path: Path) -> None:
    observer = """
    @hookimpl
    def prouter_agent_provisioning(self, request, plugin, detail):
        with (HERE / "seen").open("a") as file:
            file.write(f"{request.name} {plugin} {detail}" + chr(10))
"""
    router = router_with(fleet, tmp_path, starter=STARTER, observer=observer)
    async with router.client() as client:
        with pytest.raises(RequestFailed):
            await client.create(ANYWHERE, "solve", labels={"want": "refusal"})
    seen = tmp_path / "seen"
    await eventually(
        lambda: seen.exists() and "solve starter no agent is started: the cluster is full" in seen.read_text()
    )

"""Counted resources: what an agent declares, what its jobs hold of it and for how long, and who is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ordering import (
    OLDER,
    Lazy,
    agent_link,
    by_address,
    by_uid,
    call,
    connected_by_name,
    entry,
    failure,
    refused,
    router_link,
    uids,
    used,
)

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.core.agents.holdings import Holdings
from prouter.errors import InvalidRequest, NoAgent
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import CreateRequest, JobRecord, JobState, Sender
from prouter.model.resources import JOBS, MAX_NAMES, asked_by, in_use, shortage
from prouter.testing import eventually

GPUS = "jobs.resources.gpu=2"
SLEEP = ["sleep", "600"]
COUNTS = st.dictionaries(st.sampled_from([JOBS, "gpu", "licence"]), st.integers(1, 5))


async def test_what_is_declared_and_held_is_shown(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=4", "jobs.resources={'gpu': 2, 'nvidia.com/mig-1g': 7}")
    async with router.client() as client:
        assert (await entry(client, agent))["capacity"] == {
            "jobs": {"total": 4, "used": 0},
            "gpu": {"total": 2, "used": 0},
            "nvidia.com/mig-1g": {"total": 7, "used": 0},
        }
        job = await client.create(by_uid(agent), resources={"gpu": 1, "nvidia.com/mig-1g": 3})
        assert job.info["resources"] == {"gpu": 1, "nvidia.com/mig-1g": 3}
        assert (await client.create(by_uid(agent))).info["resources"] == {}
        assert await used(client, agent) == {"jobs": 2, "gpu": 1, "nvidia.com/mig-1g": 3}
        whole = await client.request("POST", "/jobs/create", {"agent": by_uid(agent), "resources": {"gpu": 1.0}})
        assert whole["resources"] == {"gpu": 1}


async def test_a_refusal_tells_never_from_not_now(fleet) -> None:
    router, agent = await fleet.pair(GPUS)
    async with router.client() as client:
        await client.create(by_uid(agent), resources={"gpu": 1})
        for locator in connected_by_name(agent):
            assert "has no 'licence'" in await refused(client, locator, resources={"licence": 1})
            assert "has 2 of 'gpu' in all, the job asks for 3" in await refused(client, locator, resources={"gpu": 3})
            assert "1 are free now, the job asks for 2" in await refused(client, locator, resources={"gpu": 2})
        plain = fleet.agent()
        assert "has no 'gpu'" in await refused(client, by_address(plain), resources={"gpu": 1})
        assert await used(client, agent) == {"jobs": 1, "gpu": 1}


async def test_a_job_holds_them_until_it_has_finished_or_is_removed(fleet) -> None:
    router, agent = await fleet.pair(GPUS, "jobs.capacity=10")
    async with router.client() as client:

        async def taking() -> Job:
            job = await client.create(by_uid(agent), resources={"gpu": 2})
            assert await used(client, agent) == {"jobs": 1, "gpu": 2}
            return job

        async def freed() -> None:
            assert await used(client, agent) == {"jobs": 0, "gpu": 0}

        await (await taking()).remove()
        await freed()
        job = await taking()
        with pytest.raises(RequestFailed, match="no-such-program"):
            await job.start(["no-such-program"], port_expected_count=0)
        await freed()
        job = await taking()
        await job.start(SLEEP, port_expected_count=0)
        assert await used(client, agent) == {"jobs": 1, "gpu": 2}
        await job.stop(grace_seconds=0)
        await freed()
        other = await taking()
        async with client.session.post(f"{client.url}{job.path}/restart") as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "0 are free now, the job asks for 2" in (await answer.json())["detail"]
        assert (await job.refresh()).info["state"] == "FINISHED"
        await other.start(SLEEP, port_expected_count=0)
        await other.remove()
        await freed()
        await job.restart()
        assert await used(client, agent) == {"jobs": 1, "gpu": 2}
        assert job.info["resources"] == {"gpu": 2}


async def test_a_job_takes_a_slot_and_may_take_more(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=3")
    async with router.client() as client:
        await client.create(by_uid(agent), resources={"jobs": 2})
        await client.create(by_uid(agent))
        assert await used(client, agent) == {"jobs": 3}
        for locator in connected_by_name(agent):
            assert "full: 3 jobs, capacity 3" in await refused(client, locator)
        assert "in all" in await refused(client, by_uid(agent), resources={"jobs": 4})


async def test_routers_that_ask_at_once_get_no_more_than_there_is(fleet) -> None:
    first, second = fleet.router(), fleet.router()
    agent = fleet.agent(None, "jobs.resources.gpu=3", "jobs.capacity=4")
    body = {"name": "", "agent": by_address(agent)}

    async def status(client: Client, **more: Any) -> int:
        async with client.session.post(f"{client.url}/jobs/create", json=body | more) as answer:
            assert answer.status in (200, 503), await answer.text()
            assert answer.status == 200 or int(answer.headers["Retry-After"]) > 0
            return answer.status

    async with first.client() as client, second.client() as other:
        asked = [status(asked, resources={"gpu": 1}) for asked in (client, other) for _ in range(8)]
        assert sorted(await asyncio.gather(*asked)) == [200] * 3 + [503] * 13
        asked = [status(asked) for asked in (client, other) for _ in range(4)]
        assert sorted(await asyncio.gather(*asked)) == [200] + [503] * 7
        await eventually(lambda: _uses(client, agent, {"jobs": 4, "gpu": 3}))
    async with router_link(agent, "one link") as rpc:
        for uid in await uids(rpc):
            await call(rpc, "prouter_remove", uid)
        attempts = [call(rpc, "prouter_create", None, "", {}, "", {"gpu": 2}) for _ in range(10)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1
        assert all(isinstance(outcome, dict | NoAgent) for outcome in outcomes)


async def _uses(client: Client, agent: Any, wanted: dict[str, int]) -> bool:
    return await used(client, agent) == wanted


async def test_one_that_turns_a_job_down_is_passed_over_for_the_next(fleet) -> None:
    router, agent = await fleet.pair()
    lazy = Lazy()
    async with router.client() as client, agent_link(router, "0", lazy.methods):
        await eventually(lambda: _knows(client, "0"))
        job = await client.create({"type": "select", "uids": ["0", agent.uid]})
        assert job.info["agent"]["uid"] == agent.uid
        assert lazy.asked == 1
        assert "would rather not" in await refused(client, {"type": "uid", "uid": "0"})
        assert lazy.asked == 2


async def _knows(client: Client, uid: str) -> bool:
    return any(found["uid"] == uid for found in await client.agents())


async def test_an_agent_that_does_not_count_is_not_asked_to(fleet) -> None:
    router, lazy = fleet.router(), Lazy()
    async with router.client() as client, agent_link(router, "older", lazy.methods, OLDER):
        await eventually(lambda: _knows(client, "older"))
        older = {"type": "uid", "uid": "older"}
        assert "has no 'gpu'" in await refused(client, older, resources={"gpu": 1})
        assert (await failure(client.create(older, resources={"jobs": 2}))).http_status == 501
        assert lazy.asked == 0


async def test_what_is_asked_for_belongs_to_the_request(fleet) -> None:
    router, agent = await fleet.pair(GPUS)
    async with router.client() as client:
        uid = new_uid()
        job = await client.create(by_uid(agent), uid=uid, resources={"gpu": 2})
        again = await client.create(by_uid(agent), uid=uid, resources={"gpu": 2})
        assert again.path == job.path, "repeated when nothing is free any more"
        assert (await failure(client.create(by_uid(agent), uid=uid))).http_status == 409
        assert (await failure(client.create(by_uid(agent), uid=uid, resources={"gpu": 1}))).http_status == 409
        for wrong in ({"gpu": 0}, {"gpu": -1}, {"gpu": 1.5}, {"gpu": True}, {"gpu": "1"}, {"": 1}, {"a b": 1}, [], 3):
            answer = await failure(client.request("POST", "/jobs/create", {"agent": by_uid(agent), "resources": wrong}))
            assert answer.http_status == 400, wrong
            assert "/resources" in answer.problem["errors"][0]["pointer"]
        many = {f"r{number}": 1 for number in range(MAX_NAMES + 1)}
        assert (await failure(client.create(by_uid(agent), resources=many))).http_status == 400
    async with router_link(agent) as rpc:
        for wrong in ({"gpu": 0}, {"gpu": True}, {"gpu": 1.5}, {"": 1}, {"x" * 64: 1}, ["gpu"], many):
            with pytest.raises(InvalidRequest, match="resource"):
                await call(rpc, "prouter_create", None, "", {}, "", wrong)


async def test_records_keep_them_and_older_ones_have_none(fleet) -> None:
    router, agent = await fleet.pair(GPUS, "client.reconnect_delay=0.3")
    async with router.client() as client:
        jobs = [await client.create(by_uid(agent), resources={"gpu": 1}) for _ in range(2)]
        for job in jobs:
            await job.start(["true"], port_expected_count=0)
            await job.wait(20)
        agent.stop()
        file = agent.jobs / jobs[0].info["uid"] / "record.json"
        record = json.loads(file.read_text())
        assert record.pop("resources") == {"gpu": 1}
        file.write_text(json.dumps(record))
        before = (await entry(client, agent))["connected_at"]
        agent.start()

        async def back() -> bool:
            shown = await entry(client, agent)
            return shown["connected"] and shown["connected_at"] != before

        await eventually(back)
        assert await used(client, agent) == {"jobs": 0, "gpu": 0}
        assert (await jobs[1].refresh()).info["resources"] == {"gpu": 1}
        assert (await jobs[0].refresh()).info["reason"] == "exited"


@pytest.mark.parametrize(
    "setting", ["jobs.resources={'jobs': 3}", "jobs.resources={'gpu': 0}", "jobs.resources={'a b': 1}"]
)
def test_a_declaration_that_makes_no_sense_does_not_start(fleet, setting: str) -> None:
    assert "jobs.resources" in fleet.refused("agent", "--set", setting)


def test_a_digest_without_them_is_what_it_was_before_there_were_any() -> None:
    plain = CreateRequest({"type": "uid", "uid": "a"}, "name", {"b": "c"})
    assert plain.digest() == "aaade1047022884f44df69ea1cb1708c6c287c7c56b216f1add4cb58981ef717"


class Held:
    def __init__(self, resources: dict[str, int], ended: bool = False) -> None:
        self.resources, self.ended = resources, ended


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(JobState), COUNTS), max_size=30))
def test_a_router_counts_what_jobs_hold_as_news_come(news) -> None:
    holdings, known = Holdings(), dict[int, JobRecord]()
    for number, state, resources in news:
        known[number] = JobRecord(JobUid(f"{number:032x}"), "", Sender("", "", ""), state, resources=resources)
        holdings.note(known[number])
        states = [record.state for record in known.values()]
        assert holdings.used == {JOBS: 0} | in_use(known.values())
        assert holdings.waiting == states.count(JobState.NEW)
        assert holdings.started == states.count(JobState.PENDING) + states.count(JobState.RUNNING)


@given(capacity=COUNTS, wanted=st.lists(st.tuples(COUNTS, st.booleans()), max_size=12))
def test_jobs_that_are_taken_one_by_one_never_hold_more_than_there_is(capacity, wanted) -> None:
    present: list[Held] = []
    for resources, ends in wanted:
        before = in_use(present)
        why_not = shortage(resources, capacity, before)
        over = [
            name
            for name, count in asked_by(resources).items()
            if count + before.get(name, 0) > capacity.get(name, 10**9 if name == JOBS else 0)
        ]
        assert (why_not is None) == (not over)
        if why_not is None:
            present.append(Held(resources))
            if ends:
                present[0].ended = True
        held = in_use(present)
        assert all(held[name] <= total for name, total in capacity.items() if name in held)

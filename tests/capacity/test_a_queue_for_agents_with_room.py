"""Jobs that wait for an agent with room: what their clients are told, and how they leave the queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from queueing import ANY, SLEEP, ask, create, info, placed, position, waiting

from prouter.client import Client
from prouter.model.ids import new_uid
from prouter.testing import FakeAgent, eventually


async def test_who_came_first_is_the_next(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=1")
    async with router.client() as client:
        running = await client.create(ANY)
        await running.start(SLEEP, port_expected_count=0)
        answer = await create(client, name="one", labels={"of": "test"})
        one = answer.json["uid"]
        assert answer.status == 202
        assert answer.headers["Location"] == f"/jobs/{one}" == answer.json["path"]
        assert (answer.json["state"], answer.json["agent"]) == ("NEW", None)
        assert "it is full: 1 jobs, capacity 1" in answer.json["queue"]["detail"]
        two, three = await waiting(client, 2), await waiting(client, 3)
        assert (await create(client, None)).retryable("no-agent"), "nobody overtakes by not waiting"

        await running.stop(grace_seconds=0)
        assert await placed(client, one) == agent.uid
        made = await info(client, one)
        assert (made["name"], made["labels"], made["queue"]) == ("one", {"of": "test"}, None)
        assert made["path"] == f"/jobs/{agent.uid}/{one}"
        assert (await ask(client, "GET", f"/jobs/{one}/info")).json == made
        assert [await position(client, uid) for uid in (two, three)] == [1, 2]
        await ask(client, "DELETE", f"/jobs/{one}")
        assert await placed(client, two) == agent.uid
        started = await ask(client, "POST", f"/jobs/{two}/start", {"args": ["true"], "port_expected_count": 0})
        assert started.status == 200
        assert await placed(client, three) == agent.uid, "a job that ended made room"
        ended = await ask(client, "POST", f"/jobs/{two}/wait?timeout=20")
        assert ended.json["reason"] == "exited"


async def test_a_job_that_waits_can_be_looked_at_and_removed_and_nothing_else_yet(fleet) -> None:
    router = fleet.router()
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1) as agent:
        uid = await waiting(client, labels={"a": "b"})
        behind = await waiting(client, 2)
        listed = (await ask(client, "GET", "/jobs?label=a:b")).json["jobs"]
        assert listed == [await info(client, uid)]
        assert len((await ask(client, "GET", "/jobs?state=NEW")).json["jobs"]) == 2
        assert all(job["agent"] for job in (await ask(client, "GET", f"/jobs?agent={agent.uid}")).json["jobs"])
        for verb, path, body in (
            ("POST", "start", {"args": ["true"]}),
            ("POST", "stop", {}),
            ("GET", "output", None),
            ("GET", "files", None),
            ("PUT", "file/x", None),
            ("GET", "http/", None),
            ("POST", "http/", None),
        ):
            detail = (await ask(client, verb, f"/jobs/{uid}/{path}", body)).retryable("job-queued")
            assert "position 1" in detail, path
        still = (await ask(client, "POST", f"/jobs/{uid}/wait?timeout=0.1")).json
        assert (still["state"], still["queue"]["position"]) == ("NEW", 1)
        removed = await ask(client, "DELETE", f"/jobs/{uid}")
        assert (removed.status, removed.json["uid"]) == (200, uid)
        assert (await ask(client, "GET", f"/jobs/{uid}")).status == 404
        assert await position(client, behind) == 1


OWNED = """
from dataclasses import replace
from prouter import hookimpl
from prouter.model.access import Refusal

class Owned:
    @hookimpl
    def prouter_principal(self, principal, head):
        return replace(principal, name=head.get("x-who") or "nobody")

    @hookimpl
    def prouter_authorize(self, principal, action, resource):
        owner = resource.labels.get("owner") if resource is not None else None
        return None if owner in (None, principal.name) else Refusal("it is another one's")
"""


async def test_who_may_not_use_it_is_not_told_how_it_waits(fleet, tmp_path) -> None:
    plugin = tmp_path / "owned.py"
    plugin.write_text(OWNED)
    router = fleet.router(f"plugins.load=['{plugin}:Owned']")
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1):
        owned = await ask(
            client, "POST", "/jobs/create?queue=60", {"agent": ANY, "name": "", "labels": {"owner": "ann"}}
        )
        assert owned.status == 202
        for verb, rest in (("GET", ""), ("GET", "/output"), ("GET", "/http/"), ("POST", "/start"), ("DELETE", "")):
            body = {"args": ["true"]} if verb == "POST" else None
            path = f"/jobs/{owned.json['uid']}{rest}"
            refused = await ask(client, verb, path, body, **{"X-Who": "bob"})
            assert (refused.status, "position" in refused.json["detail"]) == (403, False), (path, refused)
        for rest in ("/output", "/http/"):
            path = f"/jobs/{owned.json['uid']}{rest}"
            (await ask(client, "GET", path, **{"X-Who": "ann"})).retryable("job-queued")


async def test_whose_time_is_over_is_told_why(fleet) -> None:
    router = fleet.router("queue.max_wait=0.5")
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1):
        uid = await waiting(client, queue=1000)
        ended = (await ask(client, "POST", f"/jobs/{uid}/wait")).json
        assert (ended["state"], ended["reason"], ended["agent"]) == ("FINISHED", "timeout", None)
        assert ended["queue"]["position"] is None
        assert "no agent had room within 0.5 s" in ended["queue"]["detail"]
        assert "it is full: 1 jobs, capacity 1" in ended["queue"]["detail"]
        assert ended == await info(client, uid)
        assert (await ask(client, "POST", f"/jobs/{uid}/start", {"args": ["true"]})).status == 409
        again = await create(client, uid=uid)
        assert (again.status, again.json) == (200, ended), "the same request has the same answer"
        assert (await ask(client, "DELETE", f"/jobs/{uid}")).status == 200
        assert (await create(client, uid=uid)).status == 202, "forgotten, the uid is free"


async def test_the_same_uid_asked_twice_is_one_place_and_one_job(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=2")
    async with router.client() as client:
        first = await client.create(ANY)
        await client.create(ANY)
        uid = new_uid()
        at_once = await asyncio.gather(*(create(client, uid=uid) for _ in range(5)))
        assert {(answer.status, answer.json["queue"]["position"]) for answer in at_once} == {(202, 1)}
        assert (await create(client, uid=uid, name="other")).status == 409
        assert "position 1" in (await create(client, None, uid=uid)).retryable("job-queued")
        await first.remove()
        assert await placed(client, uid) == agent.uid
        for queue in (60, None):
            repeated = await create(client, queue, uid=uid)
            assert (repeated.status, repeated.json["agent"]["uid"]) == (200, agent.uid)
        assert len(await client.jobs()) == 2


async def test_there_are_only_so_many_places(fleet) -> None:
    router, none = fleet.router("queue.max_jobs=1"), fleet.router("queue.max_jobs=0")
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1):
        uid = await waiting(client)
        refused = await create(client)
        assert "1 jobs wait already, which is the limit (queue.max_jobs)" in refused.retryable("no-agent")
        assert (await create(client, uid=uid)).status == 202, "it has its place"
        async with FakeAgent(router, "free", capacity={"jobs": 2}):
            assert await placed(client, uid) == "free"
            assert (await create(client)).status == 200
    async with none.client() as client, FakeAgent(none, "full", capacity={"jobs": 1}, running=1):
        detail = (await create(client)).retryable("no-agent")
        assert "it is full: 1 jobs" in detail
        assert "no job may wait (queue.max_jobs)" in detail
        assert "it is full" in (await create(client, 0)).retryable("no-agent"), "it did not want to wait"


async def test_what_can_never_be_had_is_refused_at_once(fleet) -> None:
    router = fleet.router()
    async with router.client() as client:
        assert (await create(client, agent={"type": "uid", "uid": "nobody"})).status == 404
        assert (await create(client, agent={"type": "no such"})).status == 400
        assert (await ask(client, "POST", "/jobs/create?queue=-1", {"agent": ANY})).status == 400
        assert (await ask(client, "POST", "/jobs/create?queue=soon", {"agent": ANY})).status == 400
        uid = await waiting(client, 1)
        assert "no agent is connected" in (await info(client, uid))["queue"]["detail"]


async def test_it_goes_on_when_an_agent_comes_and_when_one_takes_jobs_again(fleet) -> None:
    router = fleet.router()
    async with router.client() as client:
        uid = await waiting(client)
        agent = fleet.agent(router, "jobs.capacity=2")
        assert await placed(client, uid) == agent.uid
        await client.drain(agent.uid)
        uid = await waiting(client)
        assert "it is draining" in (await info(client, uid))["queue"]["detail"]
        await client.undrain(agent.uid)
        assert await placed(client, uid) == agent.uid


async def test_what_is_in_the_way_is_told_as_it_is_now(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=1", "client.reconnect_delay=0.2", "jobs.survive_agent=True")
    async with router.client() as client:
        job = await client.create(ANY)
        uid = await waiting(client)
        assert await _detail_has(client, uid, "it is full: 1 jobs, capacity 1")
        await client.drain(agent.uid)
        await job.remove()
        await eventually(lambda: _detail_has(client, uid, "it is draining"))
        agent.kill()
        await eventually(lambda: _detail_has(client, uid, "away"))
        agent.start()
        await eventually(lambda: _detail_has(client, uid, "it is draining"))
        await client.undrain(agent.uid)
        assert await placed(client, uid) == agent.uid


async def test_an_agent_that_is_forgotten_is_in_nobodys_way_any_more(fleet) -> None:
    router = fleet.router("jobs.orphan_timeout=0.3")
    async with router.client() as client:
        async with FakeAgent(router, "gone", capacity={"jobs": 1}, running=1):
            uid = await waiting(client)
        await eventually(lambda: _detail_has(client, uid, "no agent is connected"))


async def test_it_is_told_in_the_events(fleet) -> None:
    """By events_api, which hears of it by prouter_queue_changed."""
    router = fleet.router()
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1):
        async with client.session.get(f"{client.url}/events") as stream:
            await stream.content.readline()
            first, second, third = [await waiting(client) for _ in range(3)]
            await ask(client, "DELETE", f"/jobs/{first}")
            heard = await _heard(stream, 5)
        jobs = [data["job"] for kind, data in heard if kind == "job"]
        assert [(job["uid"], job["queue"]["position"]) for job in jobs] == [
            (first, 1),
            (second, 2),
            (third, 3),
            (first, None),
        ]
        assert [data.get("removed") for kind, data in heard if kind == "job"] == [False] * 3 + [True]
        assert [data["jobs"] for kind, data in heard if kind == "queue"] == [
            [{"uid": second, "position": 1}, {"uid": third, "position": 2}]
        ]


async def _heard(stream: Any, count: int) -> list[tuple[str, Any]]:
    """So many events of jobs and the queue."""
    heard: list[tuple[str, Any]] = []
    kind = ""
    async with asyncio.timeout(20):
        async for line in stream.content:
            name, _, value = line.decode().strip().partition(": ")
            kind = value if name == "event" else kind
            if name == "data" and kind in ("job", "queue"):
                heard.append((kind, json.loads(value)))
                if len(heard) == count:
                    return heard
    raise AssertionError(heard)


async def test_the_client_waits_for_an_agent(fleet) -> None:
    router = fleet.router()
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1) as agent:
        job = await client.create(ANY, "mine", queue_seconds=60)
        assert job.info["agent"] is None
        placing = asyncio.create_task(job.placed())
        (held,) = agent.jobs
        await agent.ends(held)
        await placing
        assert (job.info["agent"]["uid"], job.info["name"]) == ("full", "mine")
        gone = await client.create(ANY, queue_seconds=0.2)
        assert (await gone.placed()).info["reason"] == "timeout"


STARTER = """
import asyncio
from pathlib import Path
from prouter import hookimpl
from prouter.model.access import Refusal

class Starter:
    @hookimpl
    async def prouter_provision_agent(self, request, progress):
        if request.name == "refused":
            return Refusal("the cluster is full")
        while not Path(__file__).with_name("go").exists():
            await asyncio.sleep(0.02)
        return "started"
"""


async def test_an_agent_is_started_for_it_and_whoever_is_the_next_gets_it(fleet, tmp_path) -> None:
    plugin = tmp_path / "starter.py"
    plugin.write_text(STARTER)
    router = fleet.router(f"plugins.load=['{plugin}:Starter']")
    async with router.client() as client:
        refused = await waiting(client, 1, name="refused")
        asked_for_it = await waiting(client, 2)
        await eventually(lambda: _detail_has(client, refused, "the cluster is full"))
        (tmp_path / "go").touch()
        async with FakeAgent(router, "started", capacity={"jobs": 1}) as agent:
            assert await placed(client, refused) == "started"
            assert await position(client, asked_for_it) == 1
            await agent.ends(next(iter(agent.jobs)))
            assert await placed(client, asked_for_it) == "started"


async def _detail_has(client: Client, uid: str, words: str) -> bool:
    return words in (await info(client, uid))["queue"]["detail"]


async def test_it_is_in_the_metrics(fleet) -> None:
    router = fleet.router("queue.max_jobs=2")
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1) as agent:
        first, second = await waiting(client), await waiting(client)
        await create(client)
        await ask(client, "DELETE", f"/jobs/{second}")
        await agent.ends(next(iter(agent.jobs)))
        await placed(client, first)
        await waiting(client)
        async with client.session.get(f"{client.url}/metrics") as answer:
            lines = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if "prouter_queue" in line)
    assert float(lines["prouter_queue_jobs"]) == 1
    assert float(lines["prouter_queue_places"]) == 2
    left = {
        how: float(lines[f'prouter_queue_left_total{{how="{how}"}}']) for how in ("placed", "removed", "turned_away")
    }
    assert left == {"placed": 1, "removed": 1, "turned_away": 1}
    assert float(lines["prouter_queue_longest_seconds"]) > 0

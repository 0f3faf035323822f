"""What is asked twice is done once: uid at create, Idempotency-Key everywhere else."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from prouter.client import Client
from prouter.testing import eventually

COUNTS = """
import pathlib, time
runs = pathlib.Path("runs")
runs.write_text((runs.read_text() if runs.exists() else "") + "x")
time.sleep(600)
"""
START = {"args": [sys.executable, "-c", COUNTS], "port_expected_count": 0}


async def ask(client: Client, path: str, body: Any, key: str | None) -> tuple[int, dict[str, Any]]:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with client.session.post(client.url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_repeated_start_with_its_key_starts_nothing_more(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        twice = await asyncio.gather(*(ask(client, f"{job.path}/start", START, "key-1") for _ in range(2)))
        later = await ask(client, f"{job.path}/start", START, "key-1")
        assert [status for status, _ in (*twice, later)] == [200, 200, 200]
        assert {info["pid"] for _, info in (*twice, later)} == {later[1]["pid"]}
        status, problem = await ask(client, f"{job.path}/start", START | {"env": {"A": "1"}}, "key-1")
        assert status == 409
        assert "Idempotency-Key" in problem["detail"]
        assert (await ask(client, f"{job.path}/start", START, "key-2"))[0] == 409
        assert (await ask(client, f"{job.path}/start", START, None))[0] == 409


async def test_a_key_outlives_the_agent(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await ask(client, f"{job.path}/start", START, "key-1")
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        status, info = await ask(client, f"{job.path}/start", START, "key-1")
    assert (status, info["state"], info["reason"]) == (200, "FINISHED", "agent-lost")


async def test_a_start_that_was_refused_may_be_asked_again_with_its_key(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        assert (await ask(client, f"{job.path}/restart", None, "again"))[0] == 409
        await ask(client, f"{job.path}/start", START, None)
        await job.stop(grace_seconds=0)
        twice = [await ask(client, f"{job.path}/restart", None, "again") for _ in range(2)]
    assert [status for status, _ in twice] == [200, 200]
    assert twice[0][1]["pid"] == twice[1][1]["pid"]


async def test_what_was_refused_at_once_is_refused_again_and_its_key_is_free(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        for _ in range(2):
            assert (await ask(client, f"{job.path}/signal", {"signal": "HUP"}, "hup"))[0] == 409
            assert (await ask(client, f"{job.path}/stop", {"grace": 0}, "stop"))[0] == 409
        await ask(client, f"{job.path}/start", START, None)
        for _ in range(2):
            assert (await ask(client, f"{job.path}/start", START, "late"))[0] == 409
        stopped = await ask(client, f"{job.path}/stop", {"grace": 0}, "stop")
        assert (stopped[0], stopped[1]["reason"]) == (200, "stopped")


async def test_a_start_that_failed_is_told_so_again_by_the_next_run_of_the_agent(fleet) -> None:
    router, agent = await fleet.pair()
    fails = {"args": ["/bin/sh", "-c", "echo no such luck; exit 3"], "port": {"mode": "assign"}}
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        first = await ask(client, f"{job.path}/start", fails, "key-1")
        assert first[0] == 422
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        again = await ask(client, f"{job.path}/start", fails, "key-1")
    names = ("type", "status", "detail")
    assert [again[1][name] for name in names] == [first[1][name] for name in names]
    assert "no such luck" in again[1]["detail"]


async def test_a_repeated_stop_or_signal_with_its_key_is_one(fleet) -> None:
    router, agent = await fleet.pair()
    counts = """
import pathlib, signal, time
def hup(*_):
    with open("hups", "a") as file:
        file.write("x")
signal.signal(signal.SIGHUP, hup)
pathlib.Path("ready").touch()
while True:
    time.sleep(0.01)
"""
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await job.start([sys.executable, "-c", counts], port_expected_count=0)
        sandbox = agent.sandbox(job)
        await eventually((sandbox / "ready").exists)
        for _ in range(2):
            assert (await ask(client, f"{job.path}/signal", {"signal": "HUP"}, "hup"))[0] == 200
            await eventually((sandbox / "hups").exists)
        assert (await ask(client, f"{job.path}/signal", {"signal": "TERM"}, "hup"))[0] == 409
        both = await asyncio.gather(*(ask(client, f"{job.path}/stop", {"grace": 1}, "stop") for _ in range(2)))
        assert [(status, info["reason"]) for status, info in both] == [(200, "stopped")] * 2
        assert (sandbox / "hups").read_text() == "x"
        await job.restart()
        later = await ask(client, f"{job.path}/stop", {"grace": 1}, "stop")
        assert (later[0], later[1]["reason"]) == (200, "stopped")
        assert (await job.refresh()).info["state"] == "RUNNING", "it was done before"


async def test_a_repeated_removal_with_its_key_is_told_the_same(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job, other = [await client.create({"type": "uid", "uid": agent.uid}) for _ in range(2)]
        short = f"/jobs/{job.info['uid']}/remove"
        asked = [ask(client, path, None, "gone") for path in (f"{job.path}/remove", f"{job.path}/remove", short)]
        answers = await asyncio.gather(*asked)
        answers.append(await ask(client, f"{job.path}/remove", None, "gone"))
        assert [(status, info["uid"], info["state"]) for status, info in answers] == [(200, job.info["uid"], "NEW")] * 4
        headers = {"Idempotency-Key": "gone"}
        async with client.session.delete(client.url + job.path, headers=headers) as answer:
            assert answer.status == 200
        for key in ("another", None):
            assert (await ask(client, f"{job.path}/remove", None, key))[0] == 404
        assert (await ask(client, f"{job.path}/stop", None, "gone"))[0] == 404
        assert (await ask(client, f"{other.path}/remove", None, "gone"))[1]["uid"] == other.info["uid"]
        again = await client.create({"type": "uid", "uid": agent.uid}, uid=job.info["uid"])
        await again.remove()


async def test_a_repeated_removal_is_told_the_same_by_the_next_run_of_the_router_and_of_the_agent(fleet) -> None:
    router = fleet.router()
    other = fleet.router(environ={"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([router.agent_token])})
    addresses = ["{}:{}".format(*each.address("server")) for each in (router, other)]
    agent = fleet.agent(router, f"client.addresses={addresses!r}", "client.reconnect_delay=0.3")
    for each in (router, other):
        await each.agent_is_there(agent)
    router.stay_put("server", "control")
    body = {"agent": {"type": "uid", "uid": agent.uid}, "name": "old", "labels": {"a": "b"}}
    async with router.client() as client, other.client() as elsewhere:
        job = await client.create(body["agent"], "old", labels=body["labels"])
        _, first = await ask(client, f"{job.path}/remove", None, "gone")
        assert (await ask(elsewhere, f"{job.path}/remove", None, "gone"))[1] == first
        for restarted in ((router,), (agent,), (router, agent)):
            for daemon in restarted:
                daemon.kill()
            for daemon in restarted:
                daemon.start()
            await router.agent_is_there(agent)
            for path in (f"{job.path}/remove", f"/jobs/{job.info['uid']}/remove"):
                status, again = await ask(client, path, None, "gone")
                assert status == 200
                same = ("uid", "state", "name", "labels", "created_at")
                assert [again[name] for name in same] == [first[name] for name in same]
            assert (await ask(client, f"{job.path}/remove", None, "another"))[0] == 404
        made = await client.create(body["agent"], "new", uid=job.info["uid"])
        assert (await ask(client, f"{job.path}/remove", None, "gone"))[1]["name"] == "old"
        assert (await made.refresh()).info["name"] == "new"


async def test_a_create_with_a_key_makes_one_job_whichever_agent_would_be_chosen(fleet) -> None:
    router, first = await fleet.pair()
    second = fleet.agent(router)
    await router.agent_is_there(second)
    body = {"agent": {"type": "select", "uids": [first.uid, second.uid]}, "name": "one"}
    async with router.client() as client:
        made = [await ask(client, "/jobs/create", body, "create-1") for _ in range(4)]
        assert {info["uid"] for _, info in made} == {made[0][1]["uid"]}
        assert len(await client.jobs()) == 1
        status, _ = await ask(client, "/jobs/create", body | {"name": "two"}, "create-1")
        assert status == 409
        uid = made[0][1]["uid"]
        elsewhere = {"agent": {"type": "uid", "uid": second.uid}, "name": "one", "uid": uid}
        assert (await ask(client, "/jobs/create", elsewhere, None))[0] == 409
        assert (await ask(client, "/jobs/create", body, "x" * 300))[0] == 400

"""The router is killed, or ended, and started again: jobs and paths are as before, and who is away is not unknown."""

from __future__ import annotations

import asyncio
import re
import time

from asking import Answer, ask, created, on, sleeping

from prouter.testing import eventually


def away(answer: Answer) -> Answer:
    assert answer.problem(503, "agent-away")["retryable"]
    assert re.fullmatch(r"[1-9]\d*", answer.headers["Retry-After"])
    return answer


async def test_jobs_and_paths_are_as_before_when_a_killed_router_is_back(fleet) -> None:
    router, agent = await fleet.pair("identity.uid='lab/one'")
    router.stay_put("server", "control")
    path = (await created(router, on(agent, labels={"a": "b"})))["path"]
    before = (await ask(router, "POST", f"{path}/start", sleeping())).json
    done = (await created(router, on(agent)))["path"]
    await ask(router, "POST", f"{done}/start", {"args": ["sh", "-c", "exit 3"], "port_expected_count": 0})
    ended = (await ask(router, "POST", f"{done}/wait")).json
    router.kill()
    router.start()
    await router.agent_is_there(agent)
    assert (await ask(router, "GET", f"{path}/info")).json == before
    assert (await ask(router, "GET", f"/jobs/{before['uid']}/info")).json == before
    assert (await ask(router, "POST", f"{done}/wait")).json == ended
    assert {job["uid"] for job in (await ask(router, "GET", "/jobs")).json["jobs"]} == {before["uid"], ended["uid"]}
    assert (await ask(router, "POST", f"{path}/stop", {"grace": 0})).json["reason"] == "stopped"


async def test_an_agent_that_is_away_is_told_from_one_that_nobody_knows(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    agent.stop()

    async def is_away() -> bool:
        return not (await ask(router, "GET", "/agents")).json["agents"][0]["connected"]

    await eventually(is_away)
    for verb, target in (("GET", "/info"), ("POST", "/remove"), ("DELETE", ""), ("GET", "/file/f"), ("PUT", "/file/f")):
        away(await ask(router, verb, path + target))
    away(await ask(router, "POST", f"{path}/start", sleeping()))
    away(await ask(router, "GET", f"/jobs/{path.rpartition('/')[2]}/info"))
    (listed,) = (await ask(router, "GET", "/jobs")).json["jobs"]
    assert (listed["path"], listed["agent"]["connected"]) == (path, False)
    (await ask(router, "GET", path.replace(agent.uid, "never-seen") + "/info")).problem(404, "agent-not-found")
    began = time.monotonic()
    problem = (await ask(router, "POST", "/jobs/create", on(agent))).problem(404, "agent-not-found")
    assert "connection" in problem["detail"]
    assert "not found" in problem["detail"]
    assert time.monotonic() - began < 5


async def test_after_its_own_start_the_router_waits_for_those_it_knew(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    (known,) = await eventually(lambda: list(router.place.glob("state/**/agents.json")), what="the router's memory")
    await eventually(lambda: agent.uid in known.read_text(), what="the agent in the memory")
    agent.kill()
    router.kill()
    router.start()
    for form in (path, f"/jobs/{path.rpartition('/')[2]}"):
        away(await ask(router, "GET", f"{form}/info"))
    assert (await ask(router, "POST", "/jobs/create", on(agent))).problem(404, "agent-not-found")["retryable"]
    (await ask(router, "GET", "/jobs/never-seen/x/info")).problem(404, "agent-not-found")

    async def given_up() -> bool:
        return (await ask(router, "GET", f"{path}/info")).status == 404

    await eventually(given_up, seconds=30, what="the end of the time to come back")
    (await ask(router, "GET", f"/jobs/{path.rpartition('/')[2]}/info")).problem(404, "job-not-found")


async def test_an_agent_that_stays_away_is_forgotten_with_its_jobs(fleet) -> None:
    router = fleet.router("jobs.orphan_timeout=1")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    path = (await created(router, on(agent)))["path"]
    waiting = asyncio.create_task(ask(router, "POST", f"{path}/wait"), name="wait")
    await asyncio.sleep(0.3)
    agent.kill()

    async def forgotten() -> bool:
        return (await ask(router, "GET", f"{path}/info")).status == 404

    await eventually(forgotten)
    (await asyncio.wait_for(waiting, 20)).problem(404, "agent-not-found")
    assert (await ask(router, "GET", "/jobs")).json["jobs"] == []


async def test_waiting_ends_at_once_when_the_router_ends(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    await ask(router, "POST", f"{path}/start", sleeping())
    waits = [asyncio.create_task(ask(router, "POST", f"{path}/wait"), name=f"wait {n}") for n in range(3)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    router.signal(15)
    for answer in await asyncio.gather(*waits):
        assert answer.problem(503, "unavailable")["retryable"]
        assert "Retry-After" in answer.headers
    assert await asyncio.to_thread(router.ended) == 0
    assert time.monotonic() - began < 5


async def test_a_wait_goes_on_while_the_agent_is_away(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    await ask(router, "POST", f"{path}/start", sleeping())
    waiting = asyncio.create_task(ask(router, "POST", f"{path}/wait"), name="wait")
    await asyncio.sleep(0.3)
    agent.kill()
    agent.start()
    answer = await asyncio.wait_for(waiting, 30)
    assert (answer.status, answer.json["reason"]) == (200, "agent-lost")

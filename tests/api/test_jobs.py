"""Jobs through the API: made, started, waited for, listed, removed; what a JobInfo says at each step."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

from asking import ask, created, on, sleeping

UID = re.compile(r"[0-9a-f]{32}")
RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FIELDS = {
    *("uid", "name", "path", "state", "sender", "agent", "exit_code", "reason"),
    *("created_at", "started_at", "finished_at", "pid", "ports", "labels", "resources", "activity", "queue"),
}
STATES = ("NEW", "PENDING", "RUNNING", "FINISHED", "CLOSED")
SERVER = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]


def is_now(text: str) -> bool:
    assert RFC_3339_UTC.fullmatch(text), text
    return abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 60


def whole(info: dict[str, Any]) -> dict[str, Any]:
    """A JobInfo with every field there and of its type."""
    assert info.keys() == FIELDS
    assert UID.fullmatch(info["uid"])
    assert isinstance(info["name"], str)
    assert info["path"].endswith(f"/{info['uid']}")
    assert info["state"] in STATES
    assert info["sender"].keys() == {"direction", "uid", "name"}
    assert info["sender"]["direction"] in ("SERVER", "CLIENT")
    assert info["agent"].keys() == {"uid", "name", "platform", "properties", "connected"}
    assert {"system", "node", "release", "version", "machine"} <= info["agent"]["platform"].keys()
    assert isinstance(info["agent"]["connected"], bool)
    for moment in ("created_at", "started_at", "finished_at"):
        assert info[moment] is None or is_now(info[moment])
    return info


async def test_a_job_from_create_to_remove(fleet) -> None:
    router, agent = await fleet.pair("identity.name='lab one'", "properties.gpu='a100'")
    info = whole(await created(router, on(agent, "solver", labels={"team": "waves", "größe": "ü"})))
    path, uid = info["path"], info["uid"]
    assert path == f"/jobs/{agent.uid}/{uid}"
    assert (info["name"], info["state"], info["labels"]) == ("solver", "NEW", {"team": "waves", "größe": "ü"})
    assert info["sender"] == {"direction": "CLIENT", "uid": router.uid, "name": ""}
    assert info["agent"] | {"platform": 0} == {
        "uid": agent.uid,
        "name": "lab one",
        "platform": 0,
        "properties": {"gpu": "a100"},
        "connected": True,
    }
    not_yet = ("started_at", "finished_at", "pid", "exit_code", "reason")
    assert [info[field] for field in not_yet] == [None] * 5
    assert info["ports"] == {}

    started = whole((await ask(router, "POST", f"{path}/start", {"args": SERVER, "port": {"mode": "assign"}})).json)
    assert started["state"] == "RUNNING"
    assert started["started_at"] >= started["created_at"]
    assert isinstance(started["pid"], int)
    assert list(started["ports"]) == ["http"]
    assert 0 < started["ports"]["http"] < 65536
    assert (started["exit_code"], started["reason"], started["finished_at"]) == (None, None, None)
    assert (await ask(router, "GET", f"{path}/info")).json == started
    (await ask(router, "POST", f"{path}/start", sleeping())).problem(409, "job-state")

    begun = time.monotonic()
    waited = whole((await ask(router, "POST", f"{path}/wait?timeout=0.3")).json)
    assert waited["state"] == "RUNNING"
    assert time.monotonic() - begun >= 0.3

    removed = whole((await ask(router, "POST", f"{path}/remove")).json)
    assert removed["uid"] == uid
    assert not (agent.jobs / uid).exists()
    for verb, target in (("GET", f"{path}/info"), ("POST", f"{path}/remove"), ("POST", f"{path}/wait")):
        problem = (await ask(router, verb, target)).problem(404, "job-not-found")
        assert "job" in problem["detail"]
        assert "not found" in problem["detail"]


async def test_a_job_that_ended_says_how(fleet) -> None:
    router, agent = await fleet.pair()
    ends = {"exit 3": (3, "exited"), "kill -TERM $$": (-15, "signaled")}
    for script, (code, reason) in ends.items():
        path = (await created(router, on(agent)))["path"]
        await ask(router, "POST", f"{path}/start", {"args": ["sh", "-c", script], "port_expected_count": 0})
        info = whole((await ask(router, "POST", f"{path}/wait")).json)
        assert (info["state"], info["exit_code"], info["reason"]) == ("FINISHED", code, reason)
        assert info["created_at"] <= info["started_at"] <= info["finished_at"]
        assert (await ask(router, "POST", f"{path}/wait")).json == info
        (await ask(router, "POST", f"{path}/start", sleeping())).problem(409, "job-state")


async def test_a_wait_ends_when_the_job_is_removed(fleet) -> None:
    router, agent = await fleet.pair()
    never_started, running = [(await created(router, on(agent)))["path"] for _ in range(2)]
    await ask(router, "POST", f"{running}/start", sleeping())
    paths = (never_started, running)
    waits = [asyncio.create_task(ask(router, "POST", f"{path}/wait"), name="wait") for path in paths for _ in range(2)]
    await asyncio.sleep(0.2)
    for path in paths:
        assert (await ask(router, "DELETE", path)).status == 200
    for answer in await asyncio.gather(*waits):
        assert (answer.status, answer.json["state"], answer.json["reason"]) == (200, "FINISHED", "stopped")
        assert is_now(answer.json["finished_at"])


async def test_the_time_to_wait_is_a_number_of_seconds(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    for wrong in ("1_0", "", "x", "-1", "nan", "inf", "1e400", "%EF%BC%91", "0x1", "%201"):
        (await ask(router, "POST", f"{path}/wait?timeout={wrong}")).problem(400, "invalid-request")
    for right in ("0", "0.0", "0.001"):
        assert (await ask(router, "POST", f"{path}/wait?timeout={right}")).status == 200


async def test_a_delete_of_the_path_removes_in_both_forms(fleet) -> None:
    router, agent = await fleet.pair()
    long, short = await created(router, on(agent)), await created(router, on(agent))
    assert whole((await ask(router, "DELETE", long["path"])).json)["uid"] == long["uid"]
    assert whole((await ask(router, "DELETE", f"/jobs/{short['uid']}")).json)["uid"] == short["uid"]
    assert (await ask(router, "GET", "/jobs")).json["jobs"] == []


async def test_the_list_shows_the_jobs_of_all_agents_as_their_info_does(fleet) -> None:
    router, first = await fleet.pair()
    second = fleet.agent(router)
    await router.agent_is_there(second)
    made = [
        await created(router, on(agent, f"job {n}", labels={"n": str(n)})) for n in (1, 2) for agent in (first, second)
    ]
    listed = (await ask(router, "GET", "/jobs")).json["jobs"]
    assert [whole(info)["uid"] for info in listed] == [info["uid"] for info in made]
    assert listed == made
    assert [j["uid"] for j in (await ask(router, "GET", "/jobs?label=n:2")).json["jobs"]] == [
        made[2]["uid"],
        made[3]["uid"],
    ]


async def test_a_program_that_is_missing_is_named_and_says_422(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    problem = (await ask(router, "POST", f"{path}/start", {"args": ["no-such-program"]})).problem(
        422, "program-missing"
    )
    assert "no-such-program" in problem["detail"]
    info = (await ask(router, "GET", f"{path}/info")).json
    assert (info["state"], info["reason"], info["exit_code"]) == ("FINISHED", "start-failed", None)

"""Which plugin decided what about a job, and why: asked before it is made, and of a job that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from reasons import router_with, said

from prouter.agent.jobs.records import MAX_TRAIL_BYTES, JobDirectory
from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.fleet import serving_job

TOKEN = "a-token-of-a-client-0123456789abcdef"
SERVE = """
import http.server, os
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


async def explained(client: Client, locator: dict[str, Any], **more: Any) -> dict[str, Any]:
    return dict(await client.request("POST", "/jobs/explain", {"agent": locator, **more}))


def uid(agent: AgentDaemon) -> dict[str, str]:
    return {"type": "uid", "uid": agent.uid}


async def two_agents(fleet: Fleet, router: RouterDaemon) -> tuple[AgentDaemon, AgentDaemon]:
    north = fleet.agent(router, "identity.name='north'", "properties={'gpu': '1'}", "jobs.capacity=4")
    south = fleet.agent(router, "identity.name='south'", "properties={'gpu': '1'}", "jobs.capacity=4")
    for agent in (north, south):
        await router.agent_is_there(agent)
    return north, south


async def test_each_kind_of_decision_is_told_with_its_plugin_and_nothing_is_made(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(fleet, tmp_path, "renamer", "quota", "gate", "keeper")
    north, south = await two_agents(fleet, router)
    async with router.client() as client:
        await client.create(uid(north))
        found = await explained(client, {"type": "labels", "match": {"gpu": "1"}}, labels={"team": "red"})
        assert found["chosen"] == south.uid
        assert found["refused"] is None
        assert found["selector"]["plugin"] == "selector_labels"
        assert (found["selector"]["type"], found["selector"]["would_dial"]) == ("labels", None)
        assert [(agent["agent"], agent["rank"], agent["taken"]) for agent in ranked(found)] == [
            (south.uid, 1, True),
            (north.uid, 2, False),
        ]
        assert "1 wait, capacity 4" in ranked(found)[1]["reason"]
        decisions = found["decisions"]
        assert said(decisions, "authorize") == [("keeper", "passed", "")]
        assert said(decisions, "admit_job") == [("quota", "passed", "")]
        assert said(decisions, "job_spec") == [("renamer", "changed", "")]
        (spec,) = [decision for decision in decisions if decision["hook"] == "prouter_job_spec"]
        assert spec["changes"] == [
            {"field": "name", "before": "", "after": "!"},
            {"field": "labels.team", "before": "red", "after": "blue"},
        ]
        assert {d["about"] for d in decisions if d["hook"] == "prouter_filter_agent"} == {north.uid, south.uid}
        assert found["driver"] == {"name": "process", "plugin": "process_driver"}
        assert all(0 <= decision["milliseconds"] < 60_000 for decision in [*decisions, found["selector"]])
        assert len(await client.jobs()) == 1
    assert len(list(north.jobs.iterdir())) == 1
    assert not list(south.jobs.iterdir())


def ranked(found: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted((agent for agent in found["agents"] if agent["rank"]), key=lambda agent: int(agent["rank"]))


async def test_a_refusal_is_told_with_its_plugin_and_reason_and_stands_in_the_log(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(fleet, tmp_path, "quota", "gate")
    north, south = await two_agents(fleet, router)
    async with router.client() as client:
        huge = {"labels": {"size": "huge"}}
        found = await explained(client, uid(north), **huge)
        assert (found["chosen"], found["refused"]["status"], found["selector"]) == (None, 403, None)
        assert said(found["decisions"], "admit_job") == [("quota", "refused", "nobody may have\nhuge jobs")]
        with pytest.raises(RequestFailed, match="huge jobs"):
            await client.request("POST", "/jobs/create", {"agent": uid(north), **huge})
        await eventually(
            lambda: "no job is made (forbidden): prouter_admit_job of quota: nobody may have huge jobs" in router.log
        )

        zone = {"labels": {"zone": "west"}}
        found = await explained(client, {"type": "labels", "match": {}}, **zone)
        assert (found["chosen"], found["refused"]["status"]) == (None, 503)
        assert {(agent["agent"], agent["refused_by"], agent["reason"]) for agent in found["agents"]} == {
            (north.uid, "gate", "it is not in zone west"),
            (south.uid, "gate", "it is not in zone west"),
        }
        with pytest.raises(RequestFailed, match="zone west"):
            await client.request("POST", "/jobs/create", {"agent": {"type": "labels", "match": {}}, **zone})
        await eventually(
            lambda: f"prouter_filter_agent of gate about {north.uid}: it is not in zone west" in router.log
        )

        found = await explained(client, {"type": "uid", "uid": "nobody"})
        assert (found["chosen"], found["refused"]["status"]) == (None, 404)
        assert "not found" in found["refused"]["detail"]
        assert found["selector"]["plugin"] == "selector_uid"
        found = await explained(client, {"type": "labels", "match": {"gpu": "2"}})
        assert {(agent["refused_by"], agent["reason"]) for agent in found["agents"]} == {
            ("selector_labels", "its property 'gpu' is '1', not '2'")
        }
        await client.request("POST", f"/agents/{north.uid}/drain")
        found = await explained(client, {"type": "labels", "match": {}})
        assert found["chosen"] == south.uid
        reasons = {agent["agent"]: (agent["refused_by"], agent["reason"]) for agent in found["agents"]}
        assert reasons[north.uid] == ("prouter", "it is draining")
        assert not await client.jobs()


async def test_a_wrong_body_is_as_wrong_as_for_create(fleet: Fleet) -> None:
    router = fleet.router()
    wrong: list[Any] = [{}, {"agent": {}}, {"agent": {"type": "none"}}, {"agent": {"type": "uid"}}, [], {"agent": 5}]
    wrong += [{"agent": {"type": "uid", "uid": "x"}, "uid": "short"}, {"agent": {"type": "uid", "uid": "x"}, "more": 1}]
    wrong += [{"agent": {"type": "address", "address": "no address", "token": "x"}}]
    async with aiohttp.ClientSession() as session:
        for body in wrong:
            answers = []
            for path in ("create", "explain"):
                async with session.post(f"{router.url()}/jobs/{path}", json=body) as answer:
                    assert answer.status == 400, (path, body)
                    answers.append((await answer.json())["detail"])
            assert answers[0] == answers[1]


async def test_an_agent_that_would_be_dialed_is_not_and_its_token_is_told_nobody(fleet: Fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    host, port = agent.address("server")
    locator = {"type": "address", "address": f"{host}:{port}", "token": agent.token}
    async with router.client() as client:
        found = await explained(client, locator)
        assert (found["chosen"], found["refused"]) == (None, None)
        assert found["selector"]["would_dial"] == f"{host}:{port}"
        assert found["selector"]["plugin"] == "selector_address"
        assert agent.token not in json.dumps(found)
        assert not await client.agents()
        wrong = dict(locator, token="hidden-token-that-is-wrong")
        with pytest.raises(RequestFailed, match="not found"):
            await client.create(wrong)
        await eventually(lambda: "no job is made (agent-not-found): selector_address: " in router.log)
        job = await client.create(locator)
        found = await explained(client, locator)
        assert (found["chosen"], found["selector"]["would_dial"]) == (agent.uid, None)
        told = await client.request("GET", f"{job.path}/explain")
        assert told["creation"]["chosen"] == agent.uid
        assert agent.token not in json.dumps(told)
        assert (await explained(client, wrong))["selector"]["would_dial"] == f"{host}:{port}"
    assert agent.token not in router.log
    assert "hidden-token" not in router.log


async def test_a_job_that_runs_tells_why_it_is_there_and_whom_a_request_meets(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(
        fleet, tmp_path, "renamer", "headers", "keeper", environ={"PROUTER_CONTROL__TOKENS": json.dumps([TOKEN])}
    )
    agent = fleet.agent(router)
    async with router.client(TOKEN) as client:
        await eventually(client.agents)
        job = await serving_job(client, agent, SERVE, "named")
        found = await client.request("GET", f"{job.path}/explain")
        made, proxied = found["creation"], found["proxying"]
        assert made["chosen"] == agent.uid
        assert made["principal"] == {"name": "client", "authenticator": "token_auth"}
        assert said(made["decisions"], "authenticate_request") == [("token_auth", "answered", "this is 'client'")]
        assert said(made["decisions"], "job_spec") == [("renamer", "changed", "")]
        assert found["driver"] == {"name": "process", "plugin": "process_driver"}
        assert said(proxied["decisions"], "authenticate_request") == [("token_auth", "answered", "this is 'client'")]
        assert said(proxied["decisions"], "resolve_route") == [("http_proxy", "answered", "")]
        assert said(proxied["decisions"], "authorize") == [("keeper", "passed", "")]
        assert said(proxied["decisions"], "proxy_request") == [("headers", "changed", "")]
        assert said(proxied["decisions"], "plan") == [("http_proxy", "answered", "")]
        assert proxied["answer_chain"] == ["headers"]
        assert (proxied["refused"], proxied["principal"]["authenticator"]) == (None, "token_auth")
        assert all(0 <= decision["milliseconds"] < 60_000 for decision in proxied["decisions"])
        (changed,) = [d for d in proxied["decisions"] if d["hook"] == "prouter_proxy_request"]
        assert changed["changes"] == [{"field": "headers.x-mine"}]
        text = json.dumps(found)
        assert TOKEN not in text
        assert router.agent_token not in text
        assert "hidden-value-of-a-header" not in text
        (tmp_path / "forbidden").write_text("job.proxy")
        refused = (await client.request("GET", f"/jobs/{job.info['uid']}/explain"))["proxying"]
        assert said(refused["decisions"], "authorize") == [("keeper", "refused", "the keeper says no")]
        assert (refused["refused"]["status"], "keeper" in refused["refused"]["detail"]) == (403, True)
        await job.stop(grace_seconds=0)
        assert (await client.request("GET", f"{job.path}/explain"))["proxying"] is None


async def test_who_may_not_is_refused_and_what_is_decided_then_is_in_the_log(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(fleet, tmp_path, "keeper")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create(uid(agent))
        (tmp_path / "forbidden").write_text("explain.read job.create")
        asked = [("GET", f"{job.path}/explain", None), ("POST", "/jobs/explain", {"agent": uid(agent)})]
        for verb, path, body in [*asked, ("POST", "/jobs/create", {"agent": uid(agent)})]:
            with pytest.raises(RequestFailed, match="the keeper says no") as refused:
                await client.request(verb, path, body)
            assert refused.value.http_status == 403
    said_so = "job.create is refused: prouter_authorize of keeper about job.create: the keeper says no"
    await eventually(lambda: router.log.count(said_so) == 2)


async def test_the_trail_is_the_agents_and_outlives_routers_and_the_agent_itself(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(fleet, tmp_path, "renamer")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create(uid(agent), "one")
        before = (await client.request("GET", f"{job.path}/explain"))["creation"]
        assert said(before["decisions"], "job_spec") == [("renamer", "changed", "")]
    router.stay_put("server", "control")
    router.kill()
    router.start()
    await router.agent_is_there(agent)
    async with router.client() as client:
        assert (await client.request("GET", f"{job.path}/explain"))["creation"] == before
        agent.stop()
        agent.start()
        await router.agent_is_there(agent)
        assert (await client.request("GET", f"{job.path}/explain"))["creation"] == before


@pytest.mark.parametrize(("limit", "kept"), [(0, False), (1500, True)])
async def test_what_is_kept_is_bounded(fleet: Fleet, tmp_path: Path, limit: int, kept: bool) -> None:
    router = router_with(
        fleet, tmp_path, "renamer", "quota", "gate", "keeper", flags=("--set", f"jobs.trail_bytes={limit}")
    )
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create(uid(agent), "n" * 1000, labels={f"label-{n}": "x" * 100 for n in range(60)})
        creation = (await client.request("GET", f"{job.path}/explain"))["creation"]
        file = agent.jobs / str(job.info["uid"]) / "trail.json"
        assert (creation is not None, file.exists()) == (kept, kept)
        if kept:
            assert file.stat().st_size <= limit
            assert creation["chosen"] == agent.uid
            assert creation["left_out"]["decisions"] > 0


async def test_a_job_without_a_readable_trail_says_nothing_of_its_making(fleet: Fleet) -> None:
    """As a job that was made by an older version."""
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create(uid(agent))
        file = agent.jobs / str(job.info["uid"]) / "trail.json"
        file.unlink()
        for broken in (None, b"", b"[1]", b'{"half', b"\xff" * 100, b"[" * 60_000):
            if broken is not None:
                file.write_bytes(broken)
            found = await client.request("GET", f"{job.path}/explain")
            assert found["creation"] is None
            assert found["driver"]["plugin"] == "process_driver"


async def test_switched_off_there_is_nothing_to_ask_and_jobs_are_made_as_ever(fleet: Fleet) -> None:
    router = fleet.router(flags=("--no-plugin", "explain"))
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create(uid(agent))
        for verb, path in (("GET", f"{job.path}/explain"), ("POST", "/jobs/explain")):
            with pytest.raises(RequestFailed, match="explain") as refused:
                await client.request(verb, path, {"agent": uid(agent)} if verb == "POST" else None)
            assert refused.value.http_status == 404


async def test_a_job_that_is_there_already_is_told_from_a_new_one_and_from_another(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    chosen = "0123456789abcdef" * 2
    async with router.client() as client:
        await client.create(uid(agent), "one", uid=chosen)
        found = await explained(client, uid(agent), name="one", uid=chosen)
        assert (found["chosen"], found["selector"]) == (agent.uid, None)
        assert found["agents"][0]["reason"] == "it has this job already"
        found = await explained(client, uid(agent), name="another", uid=chosen)
        assert (found["chosen"], found["refused"]["status"]) == (None, 409)


async def test_selectors_of_other_people_rank_and_dial_nothing_in_a_dry_run(fleet: Fleet, tmp_path: Path) -> None:
    router, listening = router_with(fleet, tmp_path, "farm"), fleet.agent()
    agents = await two_agents(fleet, router)
    order = sorted(agent.uid for agent in agents)
    host, port = listening.address("server")
    async with router.client() as client:
        found = await explained(client, {"type": "farm"})
        assert found["chosen"] == order[0]
        told = [(agent["agent"], agent["rank"], agent["reason"]) for agent in ranked(found)]
        assert told == [(order[0], 1, "dry run: True"), (order[1], 2, "dry run: True")]
        made = (await (await client.create({"type": "farm"})).explain())["creation"]
        assert [agent["reason"] for agent in ranked(made)] == ["dry run: False"] * 2
        found = await explained(client, {"type": "farm", "address": f"{host}:{port}", "token": listening.token})
        assert (found["chosen"], found["selector"]["would_dial"]) == (None, f"{host}:{port}")
        assert len(await client.agents()) == 2


async def test_a_plugin_that_fails_is_named_as_the_reason(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(fleet, tmp_path, "broken")
    fleet.expected_errors += ["plugin broken failed in prouter_admit_job", "Traceback"]
    async with router.client() as client:
        found = await explained(client, {"type": "uid", "uid": "x"})
    assert said(found["decisions"], "admit_job")[0][:2] == ("broken", "failed")
    assert (found["refused"]["status"], found["chosen"]) == (500, None)
    assert "hidden-words" not in json.dumps(found)


def test_an_agent_keeps_no_more_than_its_own_bound_whatever_a_router_sends(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    directory.keep_trail("é" * (MAX_TRAIL_BYTES // 2 + 1))
    assert directory.read_trail() is None
    directory.keep_trail("é" * (MAX_TRAIL_BYTES // 2))
    assert directory.read_trail() == "é" * (MAX_TRAIL_BYTES // 2)

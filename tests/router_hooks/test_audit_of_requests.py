"""prouter_audit: every request once it has ended, with who asked, what was asked for, how it ended and who decided."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from hearing import Heard
from proxied import Proxied, joined

from prouter.testing import Fleet, eventually

TOKEN = "a-token-of-a-client-0123456789abcdef"
SECRET = "hidden-value-of-a-header"
KEEPER = """
import pathlib
from prouter import hookimpl
from prouter.model.access import Refusal

class Keeper:
    @hookimpl
    def prouter_authorize(self, principal, action, resource):
        if resource.labels.get("kept") == "yes" and action == "job.proxy" or action == "agents.drain":
            return Refusal("the keeper says no")

    @hookimpl
    def prouter_admit_job(self, request):
        if request.name == "refused":
            return Refusal("not such a job")

    @hookimpl
    def prouter_score_agent(self, candidate):
        from prouter.model.plugin import Score
        return Score(3, "it is near")

    @hookimpl
    async def prouter_proxy_request(self, head, target):
        return None
"""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Heard, Proxied, Fleet]]:
    place = tmp_path_factory.mktemp("audited")
    heard, fleet = Heard(place, "audit"), Fleet(place)
    (place / "keeper.py").write_text(KEEPER)
    paths = [str(heard.plugin), str(place / "keeper.py")]
    try:
        make = joined(fleet, f"plugins.load={paths!r}", f"control.tokens=[{TOKEN!r}]", token=TOKEN)
        yield heard, make(), fleet
    finally:
        fleet.close()
    assert not fleet.error_lines()


async def ask(
    job: Proxied, verb: str, path: str, name: str, body: object = None, *, token: str = TOKEN, **headers: str
) -> tuple[int, Any]:
    sent = {"X-Request-Id": name, "X-Secret": SECRET, **headers}
    if token:
        sent["X-Prouter-Token"] = token
    async with (
        aiohttp.ClientSession() as session,
        session.request(verb, job.router.url() + path, headers=sent, json=body) as answer,
    ):
        return answer.status, await answer.json(content_type=None) if "json" in answer.content_type else None


def who(told: dict[str, Any]) -> tuple[str, str]:
    return told["principal"], told["authenticator"]


def said(told: dict[str, Any], hook: str) -> list[tuple[str, str]]:
    return [(d["plugin"], d["outcome"]) for d in told["decisions"] if d["hook"] == f"prouter_{hook}"]


async def test_a_request_of_the_api_with_all_that_is_known_of_it(audited) -> None:
    heard, job, _ = audited
    before = time.time()
    assert (await ask(job, "GET", f"/agents?name={SECRET}", "agents"))[0] == 200
    told = await heard.one("audit", id="agents")
    assert (told["method"], told["path"], told["status"], told["reason"]) == ("GET", "/agents", 200, "")
    assert told["action"].endswith(".read")
    assert told["resource"] == {"agent": None, "job": None, "labels": {}}
    assert who(told) == ("client", "token_auth")
    assert (told["peer"]["host"], told["peer"]["secure"]) == ("127.0.0.1", False)
    assert before - 1 <= told["at"] <= time.time() + 1
    assert said(told, "authenticate_request") == [("token_auth", "answered")]
    assert said(told, "authorize") == [("keeper", "passed")]
    assert told["creation"] is None
    assert TOKEN not in heard.text
    assert SECRET not in heard.text


async def test_refused_ones_with_the_reason_that_the_client_was_told(audited) -> None:
    heard, job, _ = audited
    uid = job.agent.uid
    assert (await ask(job, "GET", "/agents", "401", token="wrong"))[0] == 401
    told = await heard.one("audit", id="401")
    assert (told["status"], who(told), told["action"]) == (401, ("anonymous", ""), "")
    assert said(told, "authenticate_request") == [("token_auth", "refused")]
    status, problem = await ask(job, "POST", f"/agents/{uid}/drain", "403")
    told = await heard.one("audit", id="403")
    assert (status, told["status"], told["action"]) == (403, 403, "agents.drain")
    assert (told["resource"]["agent"], told["reason"]) == (uid, problem["detail"])
    assert "the keeper says no" in told["reason"]
    assert said(told, "authorize") == [("keeper", "refused")]
    assert (await ask(job, "GET", "/nowhere", "404"))[0] == 404
    told = await heard.one("audit", id="404")
    assert (told["status"], told["action"], who(told)) == (404, "", ("client", "token_auth"))
    assert "/nowhere" in told["reason"]
    assert (await ask(job, "PATCH", "/agents", "405"))[0] == 405
    assert (await heard.one("audit", id="405"))["status"] == 405
    status, problem = await ask(job, "POST", "/jobs/create", "400", {"agent": 5})
    told = await heard.one("audit", id="400")
    assert (status, told["status"], told["action"]) == (400, 400, "job.create")
    assert told["reason"] == problem["detail"]
    assert (await ask(job, "GET", "/healthz", "health", token=""))[0] == 200
    assert who(await heard.one("audit", id="health")) == ("anonymous", "")


async def test_proxied_ones_and_what_a_job_itself_refuses(audited) -> None:
    heard, job, _ = audited
    job.says("none", b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nnot me")
    assert (await ask(job, "GET", f"{job.prefix}/x?key={SECRET}", "proxied"))[0] == 200
    told = await heard.one("audit", id="proxied")
    assert (told["action"], told["path"]) == ("job.proxy", f"{job.prefix}/x")
    assert (told["resource"]["job"], told["resource"]["agent"]) == (job.info["uid"], job.agent.uid)
    for hook, plugin, outcome in (
        ("authenticate_request", "token_auth", "answered"),
        ("resolve_route", "http_proxy", "answered"),
        ("authorize", "keeper", "passed"),
        ("proxy_request", "keeper", "passed"),
        ("plan", "http_proxy", "answered"),
    ):
        assert said(told, hook) == [(plugin, outcome)]
    assert all(0 <= decision["milliseconds"] < 60_000 for decision in told["decisions"])
    assert (await ask(job, "GET", f"{job.prefix}/say/none?then=keep", "its-own"))[0] == 404
    told = await heard.one("audit", id="its-own")
    assert (told["status"], told["reason"]) == (404, "")
    assert (await ask(job, "GET", f"{job.prefix}/mute", "mute"))[0] == 502
    told = await heard.one("audit", id="mute")
    assert (told["status"], "without an answer" in told["reason"]) == (502, True)
    async with job.wired() as wire:
        lines = ("X-Request-Id: gone", f"X-Prouter-Token: {TOKEN}")
        job.says("nothing", b"")
        await wire.send(job.request("/say/nothing?then=hang", *lines))
        await eventually(lambda: any(b"then=hang" in heard for heard in job.heard))
    assert (await heard.one("audit", id="gone"))["status"] == 0
    assert SECRET not in heard.text


async def test_an_upgrade_is_told_when_it_is_open(audited) -> None:
    heard, job, _ = audited
    async with job.wired() as wire:
        lines = ("X-Request-Id: open", f"X-Prouter-Token: {TOKEN}", "Connection: Upgrade", "Upgrade: torture")
        await wire.send(job.request("/tunnel", *lines))
        await wire.head()
        told = await heard.one("audit", id="open")
        assert (told["status"], told["action"], told["method"]) == (101, "job.proxy", "GET")
        assert await wire.exactly(3) == b"hi\0"
    await ask(job, "GET", "/healthz", "behind-it")
    await heard.one("audit", id="behind-it")
    await heard.one("audit", id="open")


async def test_the_making_of_a_job_has_its_decisions_and_the_job(audited) -> None:
    heard, job, _ = audited
    wanted = {"agent": {"type": "labels", "match": {}}, "name": "made", "labels": {"kept": "yes"}}
    status, made = await ask(job, "POST", "/jobs/create", "made", wanted)
    assert status < 300
    told = await heard.one("audit", id="made")
    assert told["action"] == "job.create"
    assert told["resource"] == {"agent": job.agent.uid, "job": made["uid"], "labels": {"kept": "yes"}}
    assert said(told, "admit_job") == [("keeper", "passed")]
    assert said(told, "authorize") == [("keeper", "passed")]
    (agent,) = told["creation"]["agents"]
    assert (told["creation"]["chosen"], agent["taken"], agent["score"]) == (job.agent.uid, True, 3)
    assert told["creation"]["selector"]["plugin"] == "selector_labels"
    assert told["creation"]["decisions"] == told["decisions"]

    status, problem = await ask(job, "POST", "/jobs/create", "not-made", wanted | {"name": "refused"})
    told = await heard.one("audit", id="not-made")
    assert (status, told["status"], told["resource"]["job"]) == (403, 403, None)
    assert (told["reason"], told["creation"]["refused"]["detail"]) == (problem["detail"], problem["detail"])
    assert said(told, "admit_job") == [("keeper", "refused")]

    status, _ = await ask(job, "POST", "/jobs/explain", "explained", wanted)
    told = await heard.one("audit", id="explained")
    assert (status, told["status"], told["creation"], said(told, "admit_job")) == (200, 200, None, [])
    status, _ = await ask(job, "GET", f"{job.info['path']}/explain", "of-a-job")
    told = await heard.one("audit", id="of-a-job")
    assert told["action"] == "explain.read"
    assert len(said(told, "authorize")) == 1
    assert TOKEN not in heard.text


async def test_agents_that_dial_in_and_those_that_may_not(audited) -> None:
    heard, job, fleet = audited
    told = await heard.one("audit", action="agent.connect", status=101)
    assert (told["resource"]["agent"], who(told)) == (job.agent.uid, (job.agent.uid, "token_auth"))
    assert told["path"] == "/rpc/v1"
    assert said(told, "authenticate_agent") == [("token_auth", "answered")]
    host, port = job.router.address("server")
    wrong = "a-token-that-no-router-knows-0123456789"
    stranger = fleet.agent(
        None,
        "client.enabled=True",
        f"client.address={host}:{port}",
        environ={"PAGENT_CLIENT__TOKEN": wrong},
    )
    told = await heard.some("audit", lambda one: one["action"] == "agent.connect" and one["status"] == 401)
    assert told["resource"]["agent"] == stranger.uid
    assert who(told) == ("anonymous", "")
    assert said(told, "authenticate_agent") == [("token_auth", "refused")]
    assert wrong not in heard.text
    assert json.dumps(job.router.agent_token) not in heard.text

"""Routes of a stranger's plugin: the same authentication, authorization, limits and description as all others."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from prouter.testing import Fleet, RouterDaemon

PLUGIN = """
from prouter import hookimpl
from prouter.errors import Conflict
from prouter.model.access import Refusal
from prouter.model.http import Reply
from prouter.model.plugin import Route

BODY = {
    "type": "object",
    "properties": {"limit": {"type": "integer", "minimum": 1}},
    "required": ["limit"],
    "additionalProperties": False,
}
ANSWER = {"type": "object", "properties": {"team": {"type": "string"}}}
QUERY = {"unit": {"enum": ["jobs", "hours"], "description": "What is counted."}}

class TeamQuotas:
    @hookimpl
    def prouter_authorize(self, principal, action, resource):
        return Refusal("nobody changes quotas today") if action == "quota.write" else None

    @hookimpl
    def prouter_routes(self):
        read = ("GET", "HEAD")
        return [
            Route(read, "/quota/{team}", "quota.read", "What is left.", self.show, query=QUERY, answer=ANSWER),
            Route(("PUT",), "/quota/{team}", "quota.set", "Set.", self.set, schema=BODY, answers={201: "It is new."}),
            Route(("DELETE",), "/quota/{team}", "quota.write", "Take it.", self.set, media_type=""),
            Route(("GET",), "/quota-of-all", "quota.read", "Open.", self.show, public=True),
        ]

    async def show(self, call):
        if call.params.get("team") == "broken":
            raise RuntimeError("secret words")
        if call.params.get("team") == "leaves":
            raise SystemExit(7)
        if call.params.get("team") == "gone":
            raise Conflict("this team is gone")
        team, unit = call.params.get("team", ""), call.query.get("unit")
        return Reply.json({"team": team, "who": call.principal.name, "unit": unit})

    async def set(self, call):
        return Reply.json(call.body, 201)
"""
TOKEN = "token-of-a-client-5f0c"


@pytest.fixture
def router(fleet: Fleet, tmp_path: Path) -> RouterDaemon:
    (tmp_path / "team_quotas.py").write_text(PLUGIN)
    load = f"plugins.load=[{str(tmp_path / 'team_quotas.py')!r}]"
    return fleet.router(load, environ={"PROUTER_CONTROL__TOKENS": json.dumps([TOKEN])})


async def answered(session: aiohttp.ClientSession, verb: str, url: str, **more: Any) -> tuple[int, Any, Any]:
    """Status, JSON and headers."""
    headers = {"X-Prouter-Token": TOKEN} | more.pop("headers", {})
    async with session.request(verb, url, headers=headers, **more) as answer:
        body = await answer.read()
        return answer.status, json.loads(body) if body else None, answer.headers


async def test_they_are_guarded_as_all_others(router: RouterDaemon) -> None:
    async with aiohttp.ClientSession() as session:

        async def ask(verb: str, path: str, **more: Any) -> tuple[int, Any, Any]:
            return await answered(session, verb, router.url() + path, **more)

        assert (await ask("GET", "/quota/a%2Fb?unit=jobs"))[1] == {"team": "a/b", "who": "client", "unit": "jobs"}
        assert (await ask("GET", "/quota/a", headers={"X-Prouter-Token": "wrong"}))[0] == 401
        assert (await ask("GET", "/quota-of-all", headers={"X-Prouter-Token": ""}))[0] == 200
        status, problem, _ = await ask("DELETE", "/quota/a")
        assert status == 403
        assert "nobody changes quotas today" in problem["detail"]
        status, problem, _ = await ask("PUT", "/quota/a", json={"limit": 5}, headers={"Origin": "http://evil.example"})
        assert (status, problem["type"]) == (403, "urn:prouter:forbidden")
        status, _, headers = await ask("POST", "/quota/a")
        assert status == 405
        assert set(headers["Allow"].split(", ")) >= {"GET", "HEAD", "PUT", "DELETE"}
        assert (await ask("HEAD", "/quota/a"))[0] == 200
        assert (await ask("GET", "/quota/a", headers={"Accept": "text/html"}))[0] == 406


async def test_what_is_sent_is_checked_and_bounded(router: RouterDaemon) -> None:
    async with aiohttp.ClientSession() as session:

        async def put(data: bytes, kind: str = "application/json") -> tuple[int, Any]:
            url, headers = f"{router.url()}/quota/a", {"Content-Type": kind}
            return (await answered(session, "PUT", url, data=io.BytesIO(data), headers=headers))[:2]

        assert await put(b'{"limit": 5}') == (201, {"limit": 5})
        status, problem = await put(b'{"limit": 0, "x": 1}')
        assert (status, problem["type"]) == (400, "urn:prouter:schema")
        assert [mistake["pointer"] for mistake in problem["errors"]] in (["", "/limit"], ["/limit", ""])
        assert (await put(b"{"))[0] == 400
        status, problem = await put(b" " * 3_000_000)
        assert (status, problem["type"]) == (413, "urn:prouter:too-large")
        assert (await put(json.dumps({"limit": [0] * 30000}).encode()))[0] in (400, 413)
        assert (await answered(session, "GET", f"{router.url()}/quota/a?unit=days"))[0] == 400


async def test_what_fails_in_one_is_a_problem_without_its_words(fleet: Fleet, router: RouterDaemon) -> None:
    fleet.expected_errors += ["GET /quota/broken failed", "GET /quota/leaves failed", "Traceback"]
    async with aiohttp.ClientSession() as session:
        for team in ("broken", "leaves"):
            status, problem, _ = await answered(session, "GET", f"{router.url()}/quota/{team}")
            assert (status, problem["type"]) == (500, "urn:prouter:internal")
            assert "secret words" not in json.dumps(problem)
            assert problem["request_id"] in router.log
        status, problem, _ = await answered(session, "GET", f"{router.url()}/quota/gone")
        assert (status, problem["detail"]) == (409, "this team is gone")


async def test_they_are_described(router: RouterDaemon) -> None:
    async with aiohttp.ClientSession() as session:
        _, document, _ = await answered(session, "GET", f"{router.url()}/openapi.json")
    verbs = document["paths"]["/quota/{team}"]
    assert verbs.keys() == {"get", "head", "put", "delete"}
    assert verbs["put"]["description"] == "Authorized as `quota.set`."
    body = verbs["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["limit"] == {"type": "integer", "minimum": 1}
    assert verbs["put"]["responses"]["201"]["description"] == "It is new."
    answer = verbs["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["properties"] == {"team": {"type": "string"}}
    assert [parameter["name"] for parameter in verbs["get"]["parameters"]] == ["team", "unit"]
    assert document["paths"]["/quota-of-all"]["get"]["security"] == []

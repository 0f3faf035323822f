"""A plugin of the router asks its other half on an agent: a method over the link, a small request to its service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, eventually

ROUTER_HALF = """
import base64
from prouter import hookimpl
from prouter.model.http import ForwardPlan, Reply, RequestHead
from prouter.model.plugin import AgentService, Relay, Route

class Asking:
    @hookimpl
    def prouter_startup(self, router):
        self.agents = router.agents

    @hookimpl
    def prouter_routes(self):
        return [
            Route(("POST",), "/call/{agent}", "notes.read", "Call.", self.call, schema={"type": "object"}),
            Route(("POST",), "/http/{agent}", "notes.read", "Ask.", self.http, schema={"type": "object"}),
            Route(("GET", "PUT"), "/notes/{agent}", "notes.read", "Relay.", relay=self.relay),
        ]

    async def call(self, call):
        seconds = call.body.get("seconds")
        found = await self.agents.call(
            call.params["agent"], call.body["method"], *call.body.get("args", ()), timeout_seconds=seconds
        )
        return Reply.json({"result": found})

    async def http(self, call):
        said = call.body
        head = RequestHead(said.get("verb", "GET"), said["target"], tuple(map(tuple, said.get("headers", ()))))
        answer = await self.agents.http(
            call.params["agent"], head, said.get("body", "").encode(),
            timeout_seconds=said.get("seconds"), max_bytes=said.get("max_bytes", 1000),
        )
        return Reply.json({"status": answer.status, "type": answer.get("content-type"), "body": answer.body.decode()})

    async def relay(self, call):
        return Relay(AgentService(call.params["agent"]), ForwardPlan("/notes", "agent"))
"""
AGENT_HALF = """
import asyncio
from aiohttp import web
from prouter import hookimpl
from prouter.errors import Conflict, InvalidRequest
from prouter.model.http import Reply
from prouter.model.plugin import Route, RpcKind, RpcMethod

class Notes:
    def __init__(self):
        self.notes = []

    @hookimpl
    def prouter_rpc_methods(self):
        names = ("add", "refuse", "misread", "break_down", "be_silent", "be_long")
        kinds = [RpcMethod(f"notes_{name}", RpcKind.UNARY, getattr(self, name)) for name in names]
        return [*kinds, RpcMethod("notes_stream", RpcKind.ISTREAM, self.add)]

    @hookimpl
    def prouter_agent_routes(self):
        return [
            Route(("GET",), "/notes", "notes.read", "All.", self.all),
            Route(("PUT",), "/notes", "notes.write", "New.", self.put, schema={"type": "array"}),
            Route(("GET",), "/notes/{how}", "notes.read", "Strange ones.", self.strange),
        ]

    async def add(self, stream, *notes):
        self.notes += notes
        return {"notes": self.notes, "raw": len(self.notes)}

    async def refuse(self, stream):
        raise Conflict("this note is there already")

    async def misread(self, stream, number):
        raise InvalidRequest("Invalid request: this is no note")

    async def break_down(self, stream):
        raise RuntimeError("secret words")

    async def be_silent(self, stream):
        await asyncio.sleep(600)

    async def be_long(self, stream):
        return "x" * (5 * 1024 * 1024)

    async def all(self, call):
        return Reply.json(self.notes)

    async def put(self, call):
        self.notes = call.body
        return Reply.json({"id": call.request_id}, 201)

    async def strange(self, call):
        how = call.params["how"]
        if how == "silent":
            await asyncio.sleep(600)
        if how == "cut":
            call.request.transport.close()
        answer = web.StreamResponse()
        await answer.prepare(call.request)
        for _ in range(3):
            await answer.write(b"x" * 400)
        return answer
"""


@pytest.fixture
async def pair(fleet: Fleet, tmp_path: Path) -> tuple[str, AgentDaemon]:
    """The router's URL and an agent, each with its half."""
    (tmp_path / "asking.py").write_text(ROUTER_HALF)
    (tmp_path / "notes.py").write_text(AGENT_HALF)
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'asking.py')!r}]")
    agent = fleet.agent(router, f"plugins.load=[{str(tmp_path / 'notes.py')!r}]")
    await router.agent_is_there(agent)
    return router.url(), agent


async def asked(client: Client, how: str, agent: str, **body: Any) -> Any:
    """The answer, or status and code of the refusal."""
    try:
        return await client.request("POST", f"/{how}/{agent}", body)
    except RequestFailed as error:
        return error.http_status, str(error.problem["type"]).removeprefix("urn:prouter:"), str(error.problem["detail"])


async def test_methods_of_plugins_are_called(fleet: Fleet, pair: tuple[str, AgentDaemon]) -> None:
    fleet.expected_errors += ["'notes_break_down', called over a link, failed", "Traceback"]
    url, agent = pair
    async with Client(url) as client:

        async def call(method: str, *args: Any, **more: Any) -> Any:
            return await asked(client, "call", agent.uid, method=method, args=args, **more)

        assert await call("notes_add", "a", {"b": [1.5, None]}) == {
            "result": {"notes": ["a", {"b": [1.5, None]}], "raw": 2}
        }
        assert await call("notes_refuse") == (409, "conflict", "this note is there already")
        assert await call("notes_misread", 5) == (400, "invalid-request", "Invalid request: this is no note")
        assert (await call("notes_misread"))[:2] == (400, "invalid-request")
        assert (await call("notes_break_down"))[:2] == (500, "internal")
        assert (await call("notes_be_silent", seconds=0.2))[:2] == (504, "timeout")
        assert (await call("notes_be_long"))[:2] == (413, "too-large")
        for method in ("notes_nowhere", "notes_stream"):
            status, code, detail = await call(method)
            assert (status, code) == (501, "method-not-found")
            assert "is the plugin there that offers it?" in detail
        for method in ("prouter_drain", "job_create", "pipe_tickets"):
            status, code, detail = await call(method, True)
            assert (status, code) == (501, "not-possible")
            assert "plugins call what plugins offer" in detail
        assert (await asked(client, "call", "nobody", method="notes_add"))[:2] == (404, "agent-not-found")
        assert await call("notes_add") == {"result": {"notes": ["a", {"b": [1.5, None]}], "raw": 2}}


async def test_small_requests_are_answered_whole_or_refused(fleet: Fleet, pair: tuple[str, AgentDaemon]) -> None:
    url, agent = pair
    async with Client(url) as client:

        async def ask(target: str, **more: Any) -> Any:
            return await asked(client, "http", agent.uid, target=target, **more)

        for _ in range(3):
            made = await ask("/notes", verb="PUT", body='["ü"]', headers=[("Content-Type", "application/json")])
            assert made["status"] == 201
        assert await ask("/notes") == {"status": 200, "type": "application/json", "body": '["ü"]'}
        assert (await ask("/notes/long", max_bytes=1200))["body"] == "x" * 1200
        assert (await ask("/notes/long", max_bytes=1199))[:2] == (413, "too-large")
        assert (await ask("/notes/silent", seconds=0.2))[:2] == (504, "timeout")
        assert (await ask("/notes/cut"))[:2] == (503, "unavailable")
        missing = await ask("/nowhere")
        assert (missing["status"], missing["type"]) == (404, "application/problem+json")
        assert (await ask("/notes", verb="DELETE"))["status"] == 405
        assert (await ask("/notes", verb="PUT", body='{"no": "array"}'))["status"] == 400
        for wrong in ({"target": "notes"}, {"target": "/a b"}, {"target": "/a\r\nX: y"}):
            assert (await asked(client, "http", agent.uid, **wrong))[:2] == (400, "invalid-request")
        for head in (("X", "a\r\nY: b"), ("X Y", "")):
            assert (await ask("/notes", headers=[head]))[:2] == (400, "invalid-request")
        assert (await ask("/notes", headers=[("Content-Length", "99"), ("Transfer-Encoding", "chunked")]))[
            "status"
        ] == 200


async def test_a_relay_reaches_routes_of_the_agent_that_name_no_job(pair: tuple[str, AgentDaemon]) -> None:
    url, agent = pair
    async with Client(url) as client:
        async with client.session.put(f"{url}/notes/{agent.uid}", json=["x"]) as answer:
            assert answer.status == 201
        async with client.session.get(f"{url}/notes/{agent.uid}") as answer:
            assert (answer.status, await answer.json()) == (200, ["x"])


async def test_an_agent_that_is_away_is_told_apart(fleet: Fleet, pair: tuple[str, AgentDaemon]) -> None:
    url, agent = pair
    async with Client(url) as client:
        agent.kill()

        async def away() -> bool:
            return (await client.agents())[0]["connected"] is False

        await eventually(away)
        assert (await asked(client, "call", agent.uid, method="notes_add"))[:2] == (503, "agent-away")
        assert (await asked(client, "http", agent.uid, target="/notes"))[:2] == (503, "agent-away")

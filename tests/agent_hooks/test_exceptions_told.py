"""Mistakes of plugins are told to whoever reports them, from wherever they were caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bare_peer import greeted
from witness import Told, tell

from prouter import hookimpl
from prouter.client import RequestFailed
from prouter.errors import NoRoom
from prouter.model.jobs import JobRecord
from prouter.model.plugin import Call, Relay, Route, RpcKind, RpcMethod, RpcStream, relay_to_agent
from prouter.model.services import AgentHost
from prouter.testing import eventually


class Router:
    """Lets clients reach the agent's route."""

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        return [Route(("GET",), "/jobs/{job}/boom", "boom.read", "Boom.", relay=self._relay)]

    async def _relay(self, call: Call) -> Relay:
        return relay_to_agent(call, "boom")


class Broken:
    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._tasks = agent.tasks

    @hookimpl
    def prouter_agent_routes(self) -> Sequence[Route]:
        return [Route(("GET",), "/jobs/{job}/boom", "boom.read", "Boom.", self._boom)]

    @hookimpl
    def prouter_rpc_methods(self) -> Sequence[RpcMethod]:
        return [RpcMethod("broken_boom", RpcKind.UNARY, self._method)]

    @hookimpl
    def prouter_prepare_sandbox(self, record: JobRecord) -> None:
        if record.name == "full":
            raise NoRoom("on purpose")
        if record.name == "broken":
            raise KeyError("hook")

    async def _boom(self, call: Call) -> Any:
        raise ZeroDivisionError

    async def _method(self, stream: RpcStream, how: str) -> None:
        if how == "exit":
            raise SystemExit(3)
        if how == "task":
            self._tasks.start("sweeping", self._fails())
        else:
            raise IndexError

    async def _fails(self) -> None:
        raise RuntimeError


class Reporter:
    @hookimpl
    async def prouter_handle_exception(self, error: BaseException, about: str) -> None:
        tell(f"{type(error).__name__} in {about}")
        raise OSError("the reporter is away")


async def test_what_nobody_expected_is_told_and_nothing_else(fleet, told: Told) -> None:
    fleet.expected_errors += ["failed", "Traceback", "prouter_handle_exception"]
    router = fleet.router(plugins={"half": Router})
    agent = fleet.agent(router, environ=told.environ, plugins={"broken": Broken, "reporter": Reporter})
    await router.agent_is_there(agent)
    expected = {"KeyError in prouter_prepare_sandbox of plugin broken"}
    async with router.client() as client:
        for name, status in (("full", 507), ("broken", 500)):
            with pytest.raises(RequestFailed) as failed:
                await client.create({"type": "uid", "uid": agent.uid}, name)
            assert failed.value.http_status == status
        job = await client.create({"type": "uid", "uid": agent.uid}, "good")
        async with client.session.get(f"{client.url}{job.path}/boom") as answer:
            assert answer.status == 500
            assert "ZeroDivision" not in await answer.text()
        expected.add(f"ZeroDivisionError in GET /jobs/{job.info['uid']}/boom")
    host, port = agent.address("server")
    async with greeted(f"{host}:{port}", agent.token) as peer:
        assert (await peer.call(1, "broken_boom", "raise"))[3] != 0
        assert (await peer.call(2, "broken_boom", "exit"))[3] != 0
        assert (await peer.call(3, "broken_boom", "task"))[3] == 0
        expected |= {
            "IndexError in method broken_boom",
            "SystemExit in method broken_boom",
            "RuntimeError in plugin broken: sweeping",
        }
        await eventually(lambda: set(told.lines()) >= expected)
    assert sorted(told.lines()) == sorted(expected), "each once; the reporter's own mistakes never"
    assert agent.stop() == 0

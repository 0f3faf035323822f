"""Plugins of other people on a live router. Broken ones are in test_zoo.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prouter.client.client import RequestFailed
from prouter.testing import ECHO, Fleet
from prouter.testing.fleet import serving_job

MINE = """
from prouter import hookimpl
from prouter.errors import NoAgent
from prouter.model.http import RequestHead, ResponseHead


class ByName:
    name = "name"
    schema = {"type": "object", "required": ["type", "name"], "properties": {"type": {}, "name": {"type": "string"}},
              "additionalProperties": False}

    async def choose(self, locator, candidates):
        if locator["name"] == "leave":
            raise SystemExit(9)
        for candidate in candidates:
            if candidate.name == locator["name"]:
                return candidate.uid
        raise NoAgent(f"nobody is called {locator['name']}")


class Mine:
    @hookimpl
    def prouter_selectors(self):
        return [ByName()]

    @hookimpl
    async def prouter_proxy_request(self, head, target):
        return RequestHead(head.method, head.target, (*head.headers, ("X-Mine", target.principal.name)), head.version)

    @hookimpl
    def prouter_proxy_response(self, answer):
        return ResponseHead(answer.status, answer.reason, (*answer.headers, ("X-Answer", "mine")), answer.version)
"""


async def test_a_selector_and_header_hooks_in_a_file_work_at_once(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'mine.py')!r}]", "plugins.required=['mine']")
    agent = fleet.agent(router, "identity.name='lab'")
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "name", "name": "lab"}, "chosen by name")
        assert job.info["agent"]["uid"] == agent.uid
        fleet.expected_errors += ["plugin mine failed to choose", "Traceback"]
        for locator, status in (
            ({"type": "name", "name": "x"}, 503),
            ({"type": "name"}, 400),
            ({"type": "name", "name": "leave"}, 500),
        ):
            with pytest.raises(RequestFailed) as refused:
                await client.create(locator, "")
            assert refused.value.http_status == status
        echo = await serving_job(client, agent, ECHO)
        async with client.session.get(echo.url("page")) as answer:
            seen = json.loads(await answer.read())
        assert answer.headers["X-Answer"] == "mine"
        assert seen["X-Mine"] == "anonymous"

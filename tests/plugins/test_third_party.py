"""Plugins of other people on a live router: from a file, from an installed package, and broken ones beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import Fleet
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

ECHO = """
import http.server, json, os
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): ...
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Echo).serve_forever()
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


ZOO = {
    "at_import": "raise RuntimeError('broken')",
    "at_exit": "raise SystemExit(7)",
    "at_routes": "def prouter_routes(self): return 5",
    "at_selectors": "def prouter_selectors(self): raise SystemExit(7)",
    "at_sections": "def prouter_config_sections(self): return ['nonsense']",
    "at_schema": "def prouter_config_sections(self):\n        from prouter.model.plugin import ConfigSection\n"
    "        return [ConfigSection('zoo', {'x': {'type': 'nonsense'}})]",
}


def zoo(place: Path) -> list[str]:
    paths = []
    for name, text in ZOO.items():
        method = f"from prouter import hookimpl\nclass Plugin:\n    @hookimpl\n    {text}\n"
        (place / f"{name}.py").write_text(method if text.startswith("def") else text)
        paths.append(str(place / f"{name}.py"))
    return paths


async def test_a_router_starts_beside_plugins_that_break_while_they_are_loaded(fleet: Fleet, tmp_path: Path) -> None:
    fleet.expected_errors += ["can not be loaded and is left out", "is left out: prouter_"]
    router = fleet.daemon("--set", f"plugins.load={zoo(tmp_path)!r}")
    async with Client(router.url()) as client:
        shown = {plugin["name"]: plugin for plugin in (await client.info())["plugins"]}
        assert await client.request("GET", "/healthz") == {"status": "ok"}
    assert {name: shown[name]["state"] for name in ZOO} == dict.fromkeys(ZOO, "failed")
    assert all(shown[name]["why"] for name in ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_a_required_plugin_that_breaks_ends_the_start_by_name(fleet: Fleet, tmp_path: Path, name: str) -> None:
    paths = zoo(tmp_path)
    fleet.expected_errors.append("is left out")
    settings = [f"plugins.load={paths!r}", f"plugins.required=[{name!r}]"]
    said = fleet.refused(*(word for setting in settings for word in ("--set", setting)), status=1)
    assert name in said.splitlines()[-1]


def test_a_plugin_that_breaks_at_start_up_ends_the_start_by_name(fleet: Fleet, tmp_path: Path) -> None:
    """The log above the last line has the plugin's own traceback, for its author."""
    text = "from prouter import hookimpl\nclass P:\n    @hookimpl\n    def prouter_startup(self):\n        1 / 0\n"
    (tmp_path / "starter.py").write_text(text)
    fleet.expected_errors += ["plugin starter failed in prouter_startup", "Traceback"]
    said = fleet.refused("--set", f"plugins.load=[{str(tmp_path / 'starter.py')!r}]", status=1, traceback=True)
    assert "the plugin 'starter' failed to start" in said.splitlines()[-1]


def test_safe_leaves_other_peoples_plugins_alone(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('imported', 'w')")
    router = fleet.daemon("--safe", "--set", f"plugins.load=[{str(tmp_path / 'evil.py')!r}]")
    assert not (router.place / "imported").exists()

"""A plugin that decides who may what, and fails in whatever way, opens no door: on a live router, over sockets."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.fleet import serving_job

GATE = """
import asyncio
from pathlib import Path
from prouter import hookimpl
from prouter.model.access import ANONYMOUS

MODE = Path(__file__).with_name("mode")

class Allows(dict):
    '''True in every sense but the right one.'''

async def act(hook):
    wanted, _, mode = MODE.read_text().partition(" ")
    if wanted != hook:
        return None
    if mode == "raises":
        raise RuntimeError("hidden-words")
    if mode == "exits":
        raise SystemExit(0)
    if mode == "interrupts":
        raise KeyboardInterrupt
    if mode == "cancels itself":
        raise asyncio.CancelledError
    if mode == "never answers":
        await asyncio.sleep(600)
    if mode == "has no objection in the end":
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return ANONYMOUS if hook.startswith("prouter_authenticate") else None
    if mode == "ends the task":
        asyncio.current_task().cancel()
        await asyncio.sleep(600)
    return {"says true": True, "says a text": "yes", "says something else": Allows(name="admin")}[mode]

class Gate:
    @hookimpl
    async def prouter_authenticate_request(self, head, peer):
        return await act("prouter_authenticate_request")

    @hookimpl
    async def prouter_authenticate_agent(self, hello, peer):
        return await act("prouter_authenticate_agent")

    @hookimpl
    async def prouter_authorize(self, principal, action, resource):
        return await act("prouter_authorize")

    @hookimpl
    async def prouter_admit_job(self, request, principal):
        return await act("prouter_admit_job")

    @hookimpl
    async def prouter_filter_agent(self, candidate, request, principal):
        return await act("prouter_filter_agent")
"""
SERVER = """
import http.server, os
class Counting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("seen", "a") as seen:
            seen.write("x")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Counting).serve_forever()
"""
WAYS = [
    "raises",
    "exits",
    "interrupts",
    "cancels itself",
    "never answers",
    "has no objection in the end",
    "says true",
    "says a text",
    "says something else",
]
HOOKS = ["authenticate_request", "authenticate_agent", "authorize", "admit_job", "filter_agent"]
TOKEN = "a-token-of-the-tests-71c0"


@pytest.fixture
def router(fleet: Fleet, tmp_path: Path) -> RouterDaemon:
    (tmp_path / "gate.py").write_text(GATE)
    (tmp_path / "mode").write_text("open")
    deadlines = ",".join(f"'prouter_{hook}':0.2" for hook in HOOKS)
    fleet.expected_errors += ["plugin gate failed in", "'gate' failed in", "Traceback"]
    return fleet.router(
        f"plugins.load=[{str(tmp_path / 'gate.py')!r}]",
        f"plugins.deadlines={{{deadlines}}}",
        "access.authenticators=['gate','token_auth']",
        f"control.tokens=[{TOKEN!r}]",
    )


async def made(client: Client, agent: AgentDaemon) -> tuple[Job, Path]:
    job = await serving_job(client, agent, SERVER)
    seen = agent.sandbox(job) / "seen"
    async with client.session.get(job.url()) as answer:
        assert answer.status == 200
    return job, seen


@pytest.mark.parametrize("way", WAYS)
async def test_no_door_opens(fleet: Fleet, router: RouterDaemon, tmp_path: Path, way: str) -> None:
    agent = fleet.agent(router)
    async with router.client(TOKEN) as client, aiohttp.ClientSession() as stranger:
        await eventually(client.agents)
        job, seen = await made(client, agent)
        create = ("POST", f"{client.url}/jobs/create", {"agent": {"type": "uid", "uid": agent.uid}, "name": "no"})
        asked = {
            "authenticate_request": [(stranger, "GET", f"{client.url}/jobs", None), (stranger, "GET", job.url(), None)],
            "authorize": [
                (client.session, *create),
                (client.session, "GET", job.url(), None),
                (client.session, "POST", f"{client.url}{job.path}/remove", {}),
                (client.session, "POST", f"{client.url}/shutdown", None),
            ],
            "admit_job": [(client.session, *create)],
            "filter_agent": [(client.session, *create)],
        }
        for hook, requests in asked.items():
            (tmp_path / "mode").write_text(f"prouter_{hook} {way}")
            for session, verb, url, body in requests:
                async with session.request(verb, url, json=body) as answer:
                    problem = await answer.json()
                assert (answer.status, problem["type"]) == (500, "urn:prouter:plugin-failure"), (hook, verb, url)
                assert "'gate' failed in prouter_" + hook in problem["detail"]
                assert "hidden-words" not in problem["detail"]
        (tmp_path / "mode").write_text("open")
        assert [found.info["uid"] for found in await client.jobs()] == [job.info["uid"]]
        assert seen.read_text() == "x", "no request reached the job"


async def test_who_ends_the_task_of_a_request_leaves_no_client_waiting(
    fleet: Fleet, router: RouterDaemon, tmp_path: Path
) -> None:
    agent = fleet.agent(router)
    async with router.client(TOKEN) as client:
        await eventually(client.agents)
        job, seen = await made(client, agent)
        for hook in ("authenticate_request", "authorize"):
            (tmp_path / "mode").write_text(f"prouter_{hook} ends the task")
            with pytest.raises(aiohttp.ClientConnectionError):
                async with client.session.post(job.url(), timeout=aiohttp.ClientTimeout(20)):
                    pass
        (tmp_path / "mode").write_text("open")
        assert seen.read_text() == "x", "no request reached the job"


@pytest.mark.parametrize("way", ["raises", "never answers", "says true"])
async def test_no_agent_comes_in(fleet: Fleet, router: RouterDaemon, tmp_path: Path, way: str) -> None:
    (tmp_path / "mode").write_text(f"prouter_authenticate_agent {way}")
    agent = fleet.agent(router)
    await eventually(lambda: router.log.count("plugin gate failed in prouter_authenticate_agent") > 1, what="two tries")
    async with router.client(TOKEN) as client:
        assert await client.agents() == []
        (tmp_path / "mode").write_text("open")
        await eventually(client.agents)
    assert agent.stop() == 0

"""One plugin that implements every hook of a side, and a story in which all are asked, in the order of the specs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from prouter import agent_hookspecs, hookspecs
from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

WITNESS = """
import inspect, os
from prouter import agent_hookspecs, hookimpl, hookspecs
from prouter.model.plugin import Kind

def noting(specs, place):
    members = {}
    for name, spec in vars(specs).items():
        if name.startswith("prouter_"):
            arguments = ", ".join(inspect.signature(spec).parameters)
            answer = "[]" if spec.prouter_kind is Kind.COLLECT and name != "prouter_guards" else "None"
            space = {"place": os.environ.get(place, "/dev/null")}
            exec(f"def {name}(self, {arguments}):\\n"
                 f"    with open(place, 'a') as file: file.write('{name}\\\\n')\\n"
                 f"    return {answer}", space)
            members[name] = hookimpl(space[name])
    return type("Witness", (), members)

RouterWitness = noting(hookspecs, "WITNESS_ROUTER")
AgentWitness = noting(agent_hookspecs, "WITNESS_AGENT")
"""
SERVE = """
import os, sys
from aiohttp import web
async def page(request):
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket
    return web.Response(text="page")
app = web.Application()
app.router.add_get("/{rest:.*}", page)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=lambda text: print("serving", flush=True))
"""
CLOSED = 9
"""A port where nobody listens: the bridge there fails once nobody waits for it any more."""
SOMETIMES = {
    "router": {
        "prouter_commands": "asked by the command line only",
        "prouter_connect_agent": "of an address that is dialed",
        "prouter_agent_token": "of an address that is dialed",
        "prouter_agent_provisioning": "told of what prouter_provision_agent says",
        "prouter_job_priority": "of a job that may wait for an agent",
        "prouter_queue_changed": "told of jobs that wait for an agent",
        "prouter_news_missed": "when somebody does not keep up",
    },
    "agent": {"prouter_news_missed": "when somebody does not keep up"},
}
"""Hooks that the story below does not come to; each has a test of its own."""
STARTS = ["prouter_config_sections", "prouter_startup", "prouter_selectors", "prouter_routes", "prouter_guards"]
REQUEST = [
    "prouter_authenticate_request",
    "prouter_principal",
    "prouter_resolve_route",
    "prouter_authorize",
    "prouter_proxy_request",
    "prouter_plan",
    "prouter_proxy_response",
    "prouter_proxy_finished",
]
CREATION = ["prouter_job_spec", "prouter_admit_job", "prouter_filter_agent", "prouter_score_agent"]


class Witnesses:
    """What was asked, in its order."""

    def __init__(self, place: Path) -> None:
        self.files = {side: place / f"{side}.txt" for side in ("router", "agent")}
        self._plugin = place / "witness.py"
        self._plugin.write_text(WITNESS)

    def loading(self, side: str) -> str:
        return f"plugins.load=['{self._plugin}:{side.capitalize()}Witness']"

    def asked(self, side: str) -> list[str]:
        file = self.files[side]
        return file.read_text().split() if file.exists() else []

    def first(self, side: str, names: list[str]) -> list[str]:
        """Those of the names that were asked, in the order in which that happened first."""
        return [name for name in dict.fromkeys(self.asked(side)) if name in names]

    def forget(self) -> None:
        for file in self.files.values():
            file.unlink(missing_ok=True)


@pytest.fixture
def witnesses(tmp_path: Path) -> Witnesses:
    return Witnesses(tmp_path)


@pytest.fixture
def pair(fleet: Fleet, witnesses: Witnesses) -> Iterator[tuple[RouterDaemon, AgentDaemon]]:
    settings = ["access.authenticators=['RouterWitness', 'token_auth']", "events.kept=10"]
    router = fleet.router(
        witnesses.loading("router"), *settings, environ={"WITNESS_ROUTER": str(witnesses.files["router"])}
    )
    agent = fleet.agent(
        router,
        witnesses.loading("agent"),
        "jobs.idle_timeout=1",
        "jobs.activity_interval=0.05",
        environ={"WITNESS_AGENT": str(witnesses.files["agent"])},
    )
    fleet.expected_errors += ["Traceback", "Error", "is out of its mind"]
    return router, agent


async def story(client: Client, agent: AgentDaemon) -> None:
    """All that one job can go through."""
    job = await client.create({"type": "labels", "match": {}}, "job")
    async with client.session.put(f"{client.url}{job.path}/file/input", data=io.BytesIO(b"x")) as answer:
        assert answer.status == 200
    await job.start([sys.executable, "-c", SERVE], port={"mode": "assign"})
    async with client.session.get(job.url("page")) as answer:
        assert await answer.text() == "page"
    assert b"serving" in b"".join([piece async for piece in job.output()])
    await client.request("POST", f"{job.path}/wsconnect/ws", {"url": f"ws://127.0.0.1:{CLOSED}/"})
    await job.stop()
    await job.remove()
    idle = await client.create({"type": "uid", "uid": agent.uid}, "idle")
    await idle.start([sys.executable, "-c", "import time; time.sleep(60)"], port_expected_count=0)
    await idle.wait(30)
    with pytest.raises(RequestFailed):
        await client.create({"type": "uid", "uid": "nobody"}, "never")
    await client.drain(agent.uid)
    for path in ("/readyz", "/metrics"):
        async with client.session.get(client.url + path) as answer:
            await answer.read()
    await client.request("POST", "/reload")


def hooks_of(side: str) -> set[str]:
    specs = hookspecs if side == "router" else agent_hookspecs
    return {name for name in vars(specs) if name.startswith("prouter_")}


async def test_every_hook_is_asked_in_one_story(pair: tuple[RouterDaemon, AgentDaemon], witnesses: Witnesses) -> None:
    router, agent = pair
    await router.agent_is_there(agent)
    async with router.client() as client:
        await story(client, agent)
    await eventually(lambda: "prouter_failed" in witnesses.asked("router"))
    agent.stop()
    await eventually(lambda: "prouter_agent_disconnected" in witnesses.asked("router"))
    router.stop()
    for side in ("router", "agent"):
        missing = hooks_of(side) - set(witnesses.asked(side)) - set(SOMETIMES[side]) - {"prouter_handle_exception"}
        assert not missing, side


async def test_a_start_a_request_and_a_creation_meet_hooks_in_the_order_of_the_specs(
    pair: tuple[RouterDaemon, AgentDaemon], witnesses: Witnesses
) -> None:
    router, agent = pair
    await router.agent_is_there(agent)
    assert witnesses.first("router", STARTS) == STARTS
    async with router.client() as client:
        job = await client.create({"type": "labels", "match": {}}, "job")
        assert witnesses.first("router", CREATION) == CREATION
        await job.start([sys.executable, "-c", SERVE], port={"mode": "assign"})
        witnesses.forget()
        async with aiohttp.ClientSession() as session, session.get(job.url("page")) as answer:
            await answer.read()
        await eventually(lambda: "prouter_proxy_finished" in witnesses.asked("router"))
        assert witnesses.first("router", REQUEST) == REQUEST
    for names in (STARTS, CREATION, REQUEST):
        assert [name for name in vars(hookspecs) if name in names] == names

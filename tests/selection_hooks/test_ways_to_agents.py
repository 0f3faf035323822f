"""Plugins say where to connect to for an agent that is dialed, and with which token: for its link and for its pipes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from choosers import router_with

from prouter import hookimpl
from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.core.agents import dialer
from prouter.testing import AgentDaemon, BrokenNetwork, Fleet, InProcess, eventually

NAME = "gpu.lab:5050"
LOCATOR = {"type": "address", "address": NAME}
SERVE = """
import http.server, os
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
TUNNEL = """
    @hookimpl
    async def prouter_connect_agent(self, address):
        with (HERE / "asked").open("a") as file:
            file.write(address + chr(10))
        place = (HERE / "place").read_text()
        if place == "broken":
            raise RuntimeError("hidden-words")
        return place or None

    @hookimpl
    def prouter_agent_token(self, address):
        token = (HERE / "token").read_text()
        return token if token == "no-secret" else Secret(token)
"""


class Tunnel:
    """A router with a plugin that says what these files say."""

    def __init__(self, fleet: Fleet, place: Path) -> None:
        self._place = place
        self.say(place="", token="")
        self.router = router_with(fleet, place, tunnel=TUNNEL)

    def say(self, **words: str) -> None:
        for name, text in words.items():
            (self._place / name).write_text(text)

    @property
    def asked(self) -> list[str]:
        file = self._place / "asked"
        return file.read_text().splitlines() if file.exists() else []


async def serving(client: Client, job: Job) -> str:
    await job.start(["python3", "-c", SERVE], port={"mode": "assign"})
    async with client.session.get(f"{client.url}{job.path}/http/") as answer:
        assert answer.status == 200
        return await answer.text()


def restarted_with(agent: AgentDaemon, token: str) -> None:
    """At the same address."""
    agent.stay_put("server")
    agent.stop()
    agent._environ["PAGENT_SERVER__ACCEPT_TOKENS"] = json.dumps([token])
    agent.start()


async def linked(client: Client, agent: AgentDaemon) -> bool:
    return any(found["uid"] == agent.uid and found["connected"] for found in await client.agents())


async def test_an_address_that_the_configuration_knows_needs_no_token_and_may_be_elsewhere(
    fleet: Fleet, tmp_path: Path
) -> None:
    agent = fleet.agent()
    secret = tmp_path / "token"
    secret.write_text(agent.token + "\n")
    async with BrokenNetwork(agent.address("server")) as way:
        known = {NAME: {"connect": way.authority, "token_file": str(secret)}}
        router = fleet.router(f"dialing.known={known!r}")
        async with router.client() as client:
            assert (await client.explain(LOCATOR))["selector"]["would_dial"] == NAME
            job = await client.create(LOCATOR)
            assert job.info["agent"]["uid"] == agent.uid
            assert (await client.explain(LOCATOR))["chosen"] == agent.uid
            links = way.connections
            await serving(client, job)
            assert way.connections > links  # the pipes took the same way
            with pytest.raises(RequestFailed, match="not found") as refused:
                await client.create(dict(LOCATOR, token="another"))
            assert refused.value.http_status == 404
            secret.unlink()
            with pytest.raises(RequestFailed, match="its token can not be read"):
                await client.create(LOCATOR)
    assert agent.token not in router.log


def test_a_place_that_is_none_is_told_at_the_start(fleet: Fleet) -> None:
    said = fleet.refused("--set", "dialing.known={'gpu.lab:5050': {'connect': 'nowhere'}}")
    assert "dialing.known" in said
    assert "nowhere" in said


async def test_a_lost_link_is_dialed_where_the_agent_is_then(fleet: Fleet, tmp_path: Path) -> None:
    agent, tunnel = fleet.agent(), Tunnel(fleet, tmp_path)
    fleet.expected_errors += ["tunnel", "Traceback"]
    async with (
        BrokenNetwork(agent.address("server")) as first,
        BrokenNetwork(agent.address("server")) as second,
        tunnel.router.client() as client,
    ):
        tunnel.say(place=first.authority, token=agent.token)
        job = await client.create(LOCATOR)
        assert tunnel.asked == [NAME]
        tunnel.say(place="broken")
        first.refuse()
        await eventually(lambda: len(tunnel.asked) > 2)  # it is tried again although the plugin fails
        assert not await linked(client, agent)
        tunnel.say(place=second.authority)
        await eventually(lambda: linked(client, agent))
        links = second.connections
        assert "Directory listing" in await serving(client, job)
        assert second.connections > links


async def test_a_token_that_changes_is_asked_for_before_each_link(fleet: Fleet, tmp_path: Path) -> None:
    agent, tunnel = fleet.agent(), Tunnel(fleet, tmp_path)
    tunnel.say(place="{}:{}".format(*agent.address("server")), token=agent.token)
    async with tunnel.router.client() as client:
        await client.create(LOCATOR)
        tunnel.say(token="rotated-token-of-the-lab")
        restarted_with(agent, "rotated-token-of-the-lab")
        await eventually(lambda: linked(client, agent))
        tunnel.say(token="rotated-once-more")
        restarted_with(agent, "rotated-once-more")
        tunnel.router.kill()
        kept = (tunnel.router.place / "state" / "agents.json").read_text()
        assert NAME in kept
        assert "rotated" not in kept
        assert agent.token not in kept
        tunnel.router.start()
    async with tunnel.router.client() as client:
        await eventually(lambda: linked(client, agent))
        made = await client.create(LOCATOR)
        assert made.info["agent"]["uid"] == agent.uid
        assert len((await client.request("GET", "/connections"))["connections"]) == 1


class SlowTunnel:
    """Opened in longer than a connection may take."""

    @hookimpl
    async def prouter_connect_agent(self, address: str) -> None:
        await asyncio.sleep(2.6)


async def test_a_way_may_take_longer_than_a_connection(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "DIAL_SECONDS", 0.5)  # and two more, for a first link
    agent = await in_process.agent()
    router = await in_process.router(plugins=[SlowTunnel])
    host, port = agent.address("server")
    async with router.client() as client:
        job = await client.create({"type": "address", "address": f"{host}:{port}", "token": agent.token})
        assert job.info["agent"]["uid"] == agent.uid


async def test_without_anybody_who_knows_a_token_it_is_empty(fleet: Fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    host, port = agent.address("server")
    async with router.client() as client:
        with pytest.raises(RequestFailed, match="not found") as refused:
            await client.create({"type": "address", "address": f"{host}:{port}"})
    assert refused.value.http_status == 404


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ({"place": "no place"}, 404, "plugin 'tunnel' failed in prouter_connect_agent"),
        ({"place": "broken"}, 404, "plugin 'tunnel' failed in prouter_connect_agent"),
        ({"token": "no-secret"}, 500, "plugin 'tunnel' failed in prouter_agent_token"),
    ],
)
async def test_what_makes_no_sense_fails_that_job_by_name(
    fleet: Fleet, tmp_path: Path, words: dict[str, str], status: int, why: str
) -> None:
    tunnel = Tunnel(fleet, tmp_path)
    fleet.expected_errors += ["tunnel", "Traceback", "no job is made"]
    tunnel.say(**words)
    async with tunnel.router.client() as client:
        with pytest.raises(RequestFailed) as refused:
            await client.create(LOCATOR)
    assert refused.value.http_status == status
    assert why in str(refused.value)
    assert "hidden-words" not in str(refused.value)


async def test_an_address_that_is_none_is_wrong_whatever_plugins_say(fleet: Fleet, tmp_path: Path) -> None:
    tunnel = Tunnel(fleet, tmp_path)
    wrong: dict[str, Any] = {"type": "address", "address": "no address"}
    async with tunnel.router.client() as client:
        with pytest.raises(RequestFailed, match="no HOST:PORT") as refused:
            await client.create(wrong)
    assert (refused.value.http_status, tunnel.asked) == (400, [])

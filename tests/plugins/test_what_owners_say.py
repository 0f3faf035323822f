"""What the owner of a machine says of it and allows on it, and what a deployer knows of people, by plugins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prouter.client.client import RequestFailed
from prouter.testing import Fleet

FACTS = """
from prouter import hookimpl
from prouter.model.agents import MachineFacts

class Facts:
    @hookimpl
    async def prouter_agent_properties(self):
        return MachineFacts({"gpu": "A100", "site": "found"}, {"gpu": 2, "licence": 9})

class Wrong:
    @hookimpl
    def prouter_agent_properties(self):
        return MachineFacts({}, {"no such name!": -1})

class Broken:
    @hookimpl
    def prouter_agent_properties(self):
        raise RuntimeError("the driver is not loaded")
"""
ALLOWED = """
import os, sys
from prouter import hookimpl
from prouter.model.access import Refusal

class Allowed:
    @hookimpl
    def prouter_admit_start(self, record, request):
        if os.path.exists(os.environ["FORBIDDEN"]) or request.args[0] != sys.executable:
            return Refusal(f"{request.args[0]} may not run here")
"""
TEAMS = """
from dataclasses import replace
from prouter import hookimpl
from prouter.model.access import Principal, Refusal

class Known:
    @hookimpl
    async def prouter_principal(self, principal, head):
        team = head.get("x-team")
        if team == "broken":
            raise RuntimeError
        known = {**principal.findings, "team": team}
        return replace(principal, name="somebody", authenticator="forged", findings=known)

class Judge:
    @hookimpl
    def prouter_authorize(self, principal, action, resource):
        told = (principal.name, principal.authenticator, principal.findings["team"])
        return None if told == ("somebody", "", "blue") else Refusal(f"{told}")
"""


def loading(place: Path, text: str, *names: str) -> str:
    place.write_text(text)
    return f"plugins.load={[f'{place}:{name}' for name in names]!r}"


async def test_facts_of_a_machine_are_part_of_what_its_agent_says_unless_it_was_configured(
    fleet: Fleet, tmp_path: Path
) -> None:
    router = fleet.router()
    fleet.expected_errors += ["plugin Wrong: what it found out", "plugin Broken failed", "Traceback", "RuntimeError"]
    settings = ["properties.site='lab'", "jobs.resources={'licence': 1}"]
    agent = fleet.agent(router, loading(tmp_path / "facts.py", FACTS, "Facts", "Wrong", "Broken"), *settings)
    await router.agent_is_there(agent)
    async with router.client() as client:
        (shown,) = await client.agents()
        assert shown["properties"] == {"gpu": "A100", "site": "lab"}
        body = {"agent": {"type": "uid", "uid": agent.uid}, "name": "x", "resources": {"gpu": 2}}
        await client.request("POST", "/jobs/create", body)
        with pytest.raises(RequestFailed, match="gpu"):
            await client.request("POST", "/jobs/create", body)
        job = await client.create({"type": "uid", "uid": agent.uid}, "x")
        program = "import os; open('seen', 'w').write(os.environ['DA__PAGENT__gpu'])"
        await job.start([sys.executable, "-c", program], port_expected_count=0)
        await job.wait()
        assert await job.read("seen") == b"A100"


async def test_what_may_not_run_on_a_machine_is_refused_at_each_start(fleet: Fleet, tmp_path: Path) -> None:
    router = fleet.router()
    forbidden = tmp_path / "forbidden"
    environ = {"FORBIDDEN": str(forbidden)}
    agent = fleet.agent(router, loading(tmp_path / "allowed.py", ALLOWED, "Allowed"), environ=environ)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "x")
        with pytest.raises(RequestFailed, match="/bin/sh may not run here") as refused:
            await job.start(["/bin/sh"], port_expected_count=0)
        assert refused.value.http_status == 403
        assert (await job.refresh()).info["state"] == "NEW"
        await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        assert (await job.wait()).info["exit_code"] == 0
        forbidden.touch()
        with pytest.raises(RequestFailed, match="may not run here"):
            await client.request("POST", f"{job.path}/restart")
        assert (await job.refresh()).info["exit_code"] == 0


async def test_what_plugins_know_of_people_is_known_to_those_who_decide(fleet: Fleet, tmp_path: Path) -> None:
    router = fleet.router(loading(tmp_path / "teams.py", TEAMS, "Known", "Judge"))
    fleet.expected_errors += ["plugin Known failed in prouter_principal", "Traceback", "RuntimeError"]
    async with router.client() as client:
        for team, status in (("blue", 200), ("red", 403), ("broken", 500)):
            async with client.session.get(f"{client.url}/jobs", headers={"X-Team": team}) as answer:
                assert answer.status == status, await answer.text()

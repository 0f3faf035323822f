"""GET /debug/state: what a router and its agents are like inside, for support, without a secret in it."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

import pytest

from prouter import hookimpl
from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.model.access import Refusal
from prouter.model.inside import bounded
from prouter.model.plugin import ConfigSection

CANARY = "c4n4ry"
"""Part of everything that must not be told."""
SERVER = """
import http.server, os
from http.server import SimpleHTTPRequestHandler as Handler
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Careless:
    """Holds a secret in a setting, and does not say that it is one."""

    @hookimpl
    def prouter_config_sections(self) -> Any:
        text = {"type": "string", "default": "", "description": "A password, carelessly."}
        many = {"type": "array", "items": {"type": "string"}, "default": [], "description": "Passwords."}
        by_name = {"type": "object", "default": {}, "description": "Passwords by name."}
        return [ConfigSection("careless", {"password": text, "passwords": many, "named": by_name})]


SECRETS = (
    f"careless.password='{CANARY}-password'",
    f"careless.passwords=['{CANARY}-password']",
    f"careless.named={{'one': '{CANARY}-password'}}",
)


async def state(client: Client, path: str = "") -> dict[str, Any]:
    async with client.session.get(f"{client.url}{path}/debug/state") as answer:
        text = await answer.text()
        assert answer.status == 200, text
    assert CANARY not in text, text[max(0, text.index(CANARY) - 200) :][:400]
    return dict(json.loads(text))


async def a_secret_job(client: Client, agent: Any) -> Job:
    """One that runs, was asked, has output and files, all of which is nobody's business."""
    job = await client.create({"type": "uid", "uid": agent.uid}, f"{CANARY}-name", labels={"key": f"{CANARY}-label"})
    for name in ("job.py", f"{CANARY}-file"):
        async with client.session.post(f"{client.url}{job.path}/file/{name}", data=SERVER.encode()) as answer:
            assert answer.status == 200
    words = ["python3", "job.py", f"{CANARY}-argument"]
    await job.start(words, env={"SECRET": f"{CANARY}-environment"}, port={"mode": "assign"})
    async with client.session.get(job.url(f"{CANARY}-path?token={CANARY}-query")) as answer:
        await answer.read()
    return job


async def test_all_is_told_that_support_needs_and_no_secret(fleet) -> None:
    token = f"{CANARY}-0123456789abcdef0123456789abcdef"
    public = f"control.public_url='http://user:{CANARY}@router.example/'"
    router = fleet.router(public, *SECRETS, plugins=[Careless], environ={"PROUTER_CONTROL__TOKENS": f"['{token}']"})
    agent = fleet.agent(router, *SECRETS, plugins=[Careless], environ={"LAB": f"{CANARY}-of-the-machine"})
    await router.agent_is_there(agent, token=token)
    async with router.client(token) as client:
        job = await a_secret_job(client, agent)
        await client.create({"type": "labels", "match": {"no": "such"}}, queue_seconds=60)
        own, there = await state(client), await state(client, f"/agents/{agent.uid}")
        async with client.session.get(f"{agent.url()}/debug/state") as answer:
            at_its_own_door = await answer.json()
        await job.remove()
    link = own["links"][0]
    assert (link["agent"], link["jobs"], own["jobs"]) == (agent.uid, 1, {"RUNNING": 1})
    assert link["pipes"]["open"] >= 1
    assert link["to_send_bytes"]["limit"] > 0
    assert own["waiting"]["requests_for_agents"] == {"now": 0, "limit": 1000}
    assert own["waiting"]["jobs_in_queue"] == {"now": 1, "limit": 1000, "longest_seconds": ANY}
    assert own["waiting"]["jobs_in_queue"]["longest_seconds"] > 0
    assert own["connections"]["control"]["open"] >= 1
    assert own["settings"]["control.tokens"] == "***"
    assert own["settings"]["control.public_url"] == "http://***@router.example/"
    assert own["settings"]["limits.connections"] == 10000
    assert own["settings"]["careless.password"] == "(str)"
    assert there["links"][0]["router"] == router.uid
    assert there["pipes"]["open"] >= 1
    assert there["jobs"]["RUNNING"] == 1
    assert set(at_its_own_door) == set(there)
    for told in (own, there):
        assert told["plugins"]["debug_state"] == "loaded"
        assert told["descriptors"]["open"] > 5
        assert told["descriptors"]["tcp"]["established"] >= 1
        assert told["descriptors"]["tcp"]["listen"] >= 1
        assert told["loop"]["late_seconds"]["worst"] >= 0
        assert sum(told["tasks"].values()) >= 3
        assert not any(char.isdigit() for name in told["tasks"] for char in name), told["tasks"]


class ReadersOnly:
    """As the example readonly_token: who may only read."""

    @hookimpl
    def prouter_authorize(self, principal: Any, action: str, resource: Any) -> Refusal | None:
        return None if action.endswith(".read") else Refusal("you may only read")


async def test_who_may_only_read_may_not_see_it(fleet) -> None:
    router = fleet.router(plugins=[ReadersOnly])
    async with router.client() as client:
        await client.agents()
        for path in ("/debug/state", "/agents/one/debug/state"):
            with pytest.raises(RequestFailed) as refused:
                await client.request("GET", path)
            assert refused.value.http_status == 403
            assert "debug.state" in str(refused.value)


async def test_an_agent_that_does_not_tell_is_named(fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(router, flags=("--no-plugin", "debug_state"))
    await router.agent_is_there(agent)
    async with router.client() as client:
        with pytest.raises(RequestFailed) as refused:
            await client.request("GET", f"/agents/{agent.uid}/debug/state")
    assert refused.value.http_status == 501
    assert "debug_state" in str(refused.value)


def test_whatever_is_told_is_bounded_and_plain() -> None:
    deep: dict[str, Any] = {}
    deep["deeper"] = deep
    parts = {
        "texts": ["x" * 1000] * 1000,
        "names": {f"name {number}": number for number in range(1000)},
        "odd": [float("nan"), 1 << 100, b"bytes", object(), "\ud800"],
        "deep": deep,
    }
    told = bounded(parts, 30_000)
    assert len(json.dumps(told)) < 31_000
    assert told["texts"]["left_out_bytes"] > 30_000, "the largest part goes first"
    assert told["names"]["left_out"] == 800
    assert told["odd"][2:4] == ["(bytes)", "(object)"]

"""Records what a router and an agent of this version say to each other: `python tests/own_traffic/record.py`.

Run once for each released version whose capabilities differ; what is recorded is never changed afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
sys.path += [str(TESTS.parent), str(TESTS / "rpc"), str(TESTS / "originals")]

from wiretap import Wiretap, wiretap  # noqa: E402

from prouter import __version__  # noqa: E402
from prouter.client import Client  # noqa: E402
from prouter.testing import Fleet, eventually  # noqa: E402

UID = "0123456789abcdef0123456789abcdef"
TOKEN = "recorded-token"
AGENT = ("identity.uid='recorded-agent'", "identity.name='recorded agent'", "jobs.resources={'gpu': 2}")
ROUTER = ("identity.uid='recorded-router'", "identity.name='recorded router'")
SERVER = """
import http.server, os
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
PIPE_SECONDS = 2.0
"""A pipe that is asked for never comes, since only the link goes through the tap: the call is what counts."""


async def story(client: Client, locator: dict[str, str]) -> None:
    """Everything that a router can ask of an agent of ours about jobs."""

    async def ask(verb: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with client.session.request(verb, client.url + path, json=body, headers=named) as answer:
            assert answer.status < 400, (path, await answer.text())
            return await answer.json(content_type=None) if "json" in answer.content_type else await answer.read()

    made = {"agent": locator, "name": "recorded", "uid": UID, "labels": {"a": "b"}, "resources": {"gpu": 1}}
    path = (await ask("POST", "/jobs/create", made))["path"]
    start = {"args": ["python3", "-c", SERVER], "port": {"mode": "assign"}, "timeout": 600, "limits": {"processes": 50}}
    await ask("POST", f"{path}/start", start, Idempotency_Key="start")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PIPE_SECONDS), client.session.get(f"{client.url}{path}/http/"):
            pass
    await ask("POST", f"{path}/signal", {"signal": "CONT"})
    await ask("POST", f"{path}/stop", {"signal": "TERM", "grace": 5}, Idempotency_Key="stop")
    await ask("POST", f"{path}/restart")
    await ask("GET", f"{path}/explain")
    agent = (await ask("GET", f"{path}/info"))["agent"]["uid"]
    await ask("POST", f"/agents/{agent}/drain")
    await ask("POST", f"/agents/{agent}/undrain")
    await ask("POST", f"{path}/remove")


async def agent_dials(fleet: Fleet) -> Wiretap:
    router = fleet.router(*ROUTER)
    host, port = router.address("server")
    async with wiretap(f"{host}:{port}") as tap:
        dialing = ("client.enabled=True", f"client.address={tap.address!r}")
        agent = fleet.agent(None, *AGENT, *dialing, environ={"PAGENT_CLIENT__TOKEN": router.agent_token})
        await router.agent_is_there(agent)
        async with router.client() as client:
            await story(client, {"type": "uid", "uid": agent.uid})
        agent.stop()
        await eventually(lambda: tap.closes)
    return tap


async def router_dials(fleet: Fleet) -> Wiretap:
    agent, router = fleet.agent(None, *AGENT), fleet.router(*ROUTER)
    host, port = agent.address("server")
    async with wiretap(f"{host}:{port}", agent_dials=False) as tap:
        async with router.client() as client:
            await story(client, {"type": "address", "address": tap.address, "token": agent.token})
        agent.stop()
        await eventually(lambda: tap.closes)
    return tap


def write(name: str, mode: str, tap: Wiretap, secrets: list[str]) -> None:
    """One line for each message; tokens of the run become TOKEN, of the same length so that sizes stay."""
    head = {"scenario": name, "who": f"prouter {__version__} on both sides", "mode": mode, "notes": story.__doc__}
    lines = [json.dumps(head)]
    for message in tap.messages:
        data = message.data
        for secret in secrets:
            data = data.replace(secret.encode(), TOKEN.ljust(len(secret), "-").encode())
        lines.append(json.dumps({"from": message.sender, "hex": data.hex()}))
    target = Path(__file__).parent / f"{name}.jsonl"
    target.write_text("\n".join(lines) + "\n")
    print(f"{target.name}: {len(lines) - 1} messages")


def secrets_of(fleet: Fleet) -> list[str]:
    named = [str(getattr(daemon, word, "")) for daemon in fleet.daemons for word in ("agent_token", "token")]
    return [secret for secret in named if secret]


async def main() -> None:
    for record, mode in ((agent_dials, "agent dials"), (router_dials, "router dials")):
        with tempfile.TemporaryDirectory() as place:
            fleet = Fleet(Path(place))
            try:
                tap = await record(fleet)
            finally:
                fleet.close()
            write(f"{record.__name__}_{__version__}", mode, tap, secrets_of(fleet))


if __name__ == "__main__":
    asyncio.run(main())

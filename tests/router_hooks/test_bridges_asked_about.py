"""prouter_bridge_open: plugins are asked before anything of a bridge is connected, and know what is asked for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from proxied import Proxied, joined

ASKED = """
import json, pathlib
from prouter import hookimpl
from prouter.model.access import Refusal

class Asked:
    @hookimpl
    def prouter_bridge_open(self, bridge, principal):
        told = [bridge.ref.job, bridge.target, bridge.url, list(bridge.subprotocols), principal.name]
        with pathlib.Path(__file__).with_suffix(".heard").open("a") as file:
            file.write(json.dumps(told) + "\\n")
        return None if "/allowed" in bridge.url else Refusal("only to what is allowed")
"""


async def ask(job: Proxied, rest: str, url: str, **headers: str) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{job.router.url()}{job.info['path']}/wsconnect{rest}", json={"url": url}, headers=headers
        ) as got,
    ):
        body = await got.read()
        return got.status, json.loads(body) if body else {}


async def test_it_is_known_what_for_and_a_refusal_connects_nothing(fleet, tmp_path: Path) -> None:
    plugin = tmp_path / "asked.py"
    plugin.write_text(ASKED)
    job = joined(fleet, f"plugins.load=[{str(plugin)!r}]")()
    came = 0

    def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        url = f"HTTP://user:hidden-password@LOCALHOST:{port}/refused?a=b"
        repeated = {"Sec-WebSocket-Protocol": "one, two", "Idempotency-Key": "again"}
        for _ in range(2):
            status, problem = await ask(job, "/some/%2Fwhere?x=1", url, **repeated)
            assert (status, problem["type"]) == (403, "urn:prouter:forbidden")
            assert problem["detail"] == "this bridge is not allowed: only to what is allowed"
        status, _ = await ask(job, "", f"wss://[::1]:{port}/allowed")
        assert status == 502  # the job speaks no websocket, but it was asked
    told = [json.loads(line) for line in plugin.with_suffix(".heard").read_text().splitlines()]
    first = [job.info["uid"], "/some/%2Fwhere?x=1", f"ws://localhost:{port}/refused?a=b", ["one", "two"], "anonymous"]
    assert told[:2] == [first, first]
    assert told[2][1:4] == ["/", f"wss://[::1]:{port}/allowed", []]
    assert came == 0
    (heard,) = filter(None, job.heard)  # of the one that was allowed; whether the job serves was looked at before
    assert b"GET / HTTP/1.1" in heard
    assert "hidden-password" not in job.router.log

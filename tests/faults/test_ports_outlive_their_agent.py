"""R5: a job that serves on a unix socket in its sandbox is reached through the next agent, too."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from test_jobs_outlive_their_agent import survivor

from prouter.client import Client, Job
from prouter.testing import Fleet, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

SERVES = """
import http.server, os, socketserver, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("%s %s" % (os.path.basename(sys.argv[1]), os.environ.get("TURN", "0"))).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def get_request(self):
        return super().get_request()[0], ("local", 0)
open("up", "w").close()
while os.environ.get("WAITS") and not os.path.exists("serve"): time.sleep(0.02)
if "/" in sys.argv[1]: os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
if "PORT_TCP" in os.environ:
    tcp = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT_TCP"])), Handler)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
first = Server(sys.argv[1], Handler)
threading.Thread(target=first.serve_forever, daemon=True).start()
while not os.path.exists("again"): time.sleep(0.02)
first.shutdown(); first.server_close(); os.unlink(sys.argv[1])
os.environ["TURN"] = "1"
os.rename("again", "over")
Server(sys.argv[1], Handler).serve_forever()
"""


async def test_a_unix_socket_in_the_sandbox_is_served_through_the_next_agent(fleet: Fleet) -> None:
    """Also one deeper down beside a TCP port, one of a start that was under way, and one that its job binds anew."""
    router = fleet.router()
    agent = survivor(fleet, router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        plain, several, waits = [
            await client.create({"type": "uid", "uid": agent.uid}, name) for name in ("plain", "several", "waits")
        ]
        both = {"http": {"mode": "unix", "path": "run/deep.sock"}, "tcp": {"mode": "assign"}}
        await plain.start([sys.executable, "-c", SERVES, "plain.sock"], port=unix("plain.sock"))
        await several.start([sys.executable, "-c", SERVES, "run/deep.sock"], ports=both)
        late = {"args": [sys.executable, "-c", SERVES, "late.sock"], "port": unix("late.sock"), "env": {"WAITS": "1"}}
        start = asyncio.create_task(started(client, waits, late))
        await eventually((agent.sandbox(waits) / "up").exists, what="the program")
        pids = [(await job.refresh()).info["pid"] for job in (plain, several)]
        for end in (agent.kill, agent.stop):
            await asyncio.to_thread(end)
            agent.start()
            await router.agent_is_there(agent)
            assert [(await job.refresh()).info["pid"] for job in (plain, several)] == pids
            assert await text(client, plain) == "plain.sock 0"
            assert await text(client, several) == "deep.sock 0"
        (agent.sandbox(waits) / "serve").touch()
        assert (await start)["state"] == "RUNNING"
        assert await text(client, waits) == "late.sock 0"
        assert (await plain.refresh()).info["ports"] == {"http": "plain.sock"}
        (agent.sandbox(plain) / "again").touch()
        await eventually((agent.sandbox(plain) / "over").exists, what="another socket of that name")

        async def anew() -> bool:
            return await text(client, plain) == "plain.sock 1"

        await eventually(anew, what="an answer through it")
        outside(agent.sandbox(several) / "run" / "deep.sock")
        assert "root" not in await text(client, several)


def unix(path: str) -> dict[str, str]:
    return {"mode": "unix", "path": path}


async def started(client: Client, job: Job, body: dict[str, object]) -> dict[str, object]:
    """Asked for with the same key until it is answered."""
    headers = {"Idempotency-Key": "once"}
    while True:
        async with client.session.post(f"{client.url}{job.path}/start", json=body, headers=headers) as answer:
            found: dict[str, object] = await answer.json()
            if answer.status < 500:
                return found
        await asyncio.sleep(0.05)


async def text(client: Client, job: Job) -> str:
    async with client.session.get(job.url("/")) as answer:
        return await answer.text()


def outside(place: Path) -> None:
    """A link that leads out of the sandbox stands where the socket was: an adopted job may do no more than others."""
    place.unlink()
    os.symlink("/run/root.sock", place)

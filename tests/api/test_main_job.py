"""The main job with a client written against the original's page alone."""

from __future__ import annotations

import json
import sys
import urllib.request

SERVER = b"""
import http.server, os, sys, threading, urllib.parse, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
        if self.path == "/quit":
            threading.Thread(target=self.server.shutdown).start()

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
query = urllib.parse.urlencode({"job_id": os.environ["DA__PAGENT__JOB_ID"], "port": server.server_port})
urllib.request.urlopen(os.environ["DA__PAGENT__JOB_ENDPOINT"] + "?" + query).read()
open("result.txt", "w").write("done")
print("served", flush=True)
server.serve_forever()
"""


def call(url: str, verb: str = "GET", body: object = None, raw: bytes | None = None) -> bytes:
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, method=verb)
    if raw is not None:
        request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def the_whole_job(base: str, locator: dict[str, str]) -> None:
    job = json.loads(call(f"{base}/jobs/create", "POST", {"agent": locator, "name": "original"}))
    path = base + job["path"]
    call(f"{path}/file/server.py", "POST", raw=SERVER)
    started = json.loads(call(f"{path}/start", "POST", {"args": [sys.executable, "server.py"], "env": {}, "name": "x"}))
    assert started["state"] == "RUNNING"
    assert call(f"{path}/http/some/page") == b"hello"
    assert call(f"{path}/http/quit") == b"hello"
    assert json.loads(call(f"{path}/wait", "POST"))["state"] == "FINISHED"
    assert json.loads(call(f"{path}/info"))["exit_code"] == 0
    assert call(f"{path}/file/result.txt") == b"done"
    assert call(f"{path}/file/.pagent.stdout") == b"served\n"
    call(f"{path}/remove", "POST")


async def test_an_agent_that_dialed_in_is_named_by_its_uid(fleet) -> None:
    router, agent = await fleet.pair()
    the_whole_job(router.url(), {"type": "uid", "uid": agent.uid})


async def test_an_agent_that_listens_is_named_by_its_address(fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    host, port = agent.address("server")
    the_whole_job(router.url(), {"type": "address", "address": f"{host}:{port}", "token": agent.token})

"""A job's websocket joined to one of the caller's own server."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.server import ServerConnection, serve

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing.fleet import serving_job

ECHO = """
import asyncio, os
from websockets.asyncio.server import serve
async def echo(socket):
    if socket.request.path == "/closes":
        await socket.close(4001, "as asked")
        return
    await socket.send("hello from " + socket.request.path + " " + str(socket.subprotocol))
    async for message in socket:
        await socket.send(message)
async def main():
    port = int(os.environ["PORT"])
    async with serve(echo, "127.0.0.1", port, subprotocols=["one", "two"], max_size=None, compression=None):
        await asyncio.Future()
asyncio.run(main())
"""


TWO = {"Sec-WebSocket-Protocol": "two"}
"""Both servers want one."""


class Caller:
    """The caller's websocket server: the connections that came."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.url = ""
        self.over = asyncio.Event()

    async def take(self, connection: ServerConnection) -> None:
        await self.came.put(connection)
        await self.over.wait()

    async def connection(self) -> ServerConnection:
        async with asyncio.timeout(20):
            return await self.came.get()


@asynccontextmanager
async def caller() -> AsyncIterator[Caller]:
    made = Caller()
    async with serve(made.take, "127.0.0.1", 0, subprotocols=["two"], max_size=None, compression=None) as server:
        made.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield made
        finally:
            made.over.set()


async def connect(client: Client, job: Job, rest: str, url: str) -> int:
    async with client.session.post(f"{client.url}{job.path}/wsconnect{rest}", json={"url": url}, headers=TWO) as answer:
        return answer.status


async def told_of_bridge(events: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event about one."""
    async with asyncio.timeout(20):
        async for line in events.content:
            if line.startswith(b"data: ") and b"bridge" in line:
                return dict(json.loads(line.removeprefix(b"data: ")))
    raise AssertionError("the events ended")


async def test_messages_pass_both_ways_with_path_and_subprotocol(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "/some/where?x=1", f"{mine.url}/in") == 200
        theirs = await mine.connection()
        assert theirs.request is not None
        assert theirs.request.path == "/in"
        assert theirs.subprotocol == "two"
        assert await theirs.recv() == "hello from /some/where?x=1 two"
        for message in ("text", b"bytes", "", b"", "ü" * 70000, bytes(3_000_000)):
            await theirs.send(message)
            assert await theirs.recv() == message
        await theirs.send(["in", "parts"])
        assert await theirs.recv() == "inparts"
        await (await theirs.ping())


async def test_close_codes_pass(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        as_originals_say = mine.url.replace("ws://", "HTTP://")
        assert await connect(client, job, "/closes", as_originals_say) == 200
        theirs = await mine.connection()
        await theirs.wait_closed()
        assert (theirs.close_code, theirs.close_reason) == (4001, "as asked")


async def test_a_job_that_dies_is_a_cut(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "", mine.url) == 200
        theirs = await mine.connection()
        await theirs.recv()
        await job.signal("KILL")
        await theirs.wait_closed()
        assert theirs.close_code == 1006


async def test_what_fails_before_the_job_answers_is_told_to_the_caller(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        assert await connect(client, job, "/", "ws://127.0.0.1:9") == 404
        for host in ("a..b", ".example", f"{'a' * 70}.example", "a." * 140 + "example"):
            assert await connect(client, job, "/", f"wss://{host}/") == 400
        for url in ("ftp://x/", "ws://", "ws://a b/", "ws://h:99999/", "ws://h:x/"):
            assert await connect(client, job, "/", url) == 400
        refusing = await serving_job(client, agent, REFUSES)
        with pytest.raises(RequestFailed) as refused:
            await client.request("POST", f"{refusing.path}/wsconnect/x", {"url": "ws://127.0.0.1:9"})
    assert refused.value.http_status == 502
    assert "404" in str(refused.value)


REFUSES = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


async def test_what_fails_later_is_an_event_and_a_line_in_the_log(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, client.session.get(f"{client.url}/events") as events:
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "/", "ws://127.0.0.1:9") == 200
        told = await told_of_bridge(events)
    assert job.info["uid"] in told["about"]
    assert job.info["uid"] in router.log


async def test_bridges_are_limited_and_leave_nothing_behind(fleet) -> None:
    router = fleet.router("bridges.max_count=1")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "/", mine.url) == 200
        await mine.connection()
        assert await connect(client, job, "/", mine.url) == 429
    assert await asyncio.to_thread(router.stop) == 0


async def test_a_job_that_gets_its_whole_path_gets_it_here_too(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        for ports, below in (
            ({"http": {"mode": "assign", "prefix": "keep"}}, "/http"),
            ({"ws": {"mode": "assign", "prefix": "keep"}, "x": {"mode": "assign"}}, "/port/ws"),
        ):
            job = await client.create({"type": "uid", "uid": agent.uid}, "keeps")
            program = SECOND + ECHO if "x" in ports else ECHO
            await job.start([sys.executable, "-c", program], ports=ports)
            assert await connect(client, job, "/chat?x=1", mine.url) == 200
            assert await (await mine.connection()).recv() == f"hello from {job.path}{below}/chat?x=1 two"
            short = f"{client.url}/jobs/{job.info['uid']}/wsconnect/chat"
            async with client.session.post(short, json={"url": mine.url}, headers=TWO) as answer:
                assert answer.status == 200
            assert await (await mine.connection()).recv() == f"hello from {job.path}{below}/chat two"


SECOND = """
import os, socket
second = socket.create_server(("127.0.0.1", int(os.environ["PORT_X"])))
"""


async def test_a_server_that_never_answers_is_given_up(fleet) -> None:
    router = fleet.router("bridges.connect_timeout=0.5")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    mute = socket.create_server(("127.0.0.1", 0))
    with mute:
        async with router.client() as client, client.session.get(f"{client.url}/events") as events:
            silent = await serving_job(client, agent, SILENT)
            with pytest.raises(RequestFailed) as refused:
                await client.request("POST", f"{silent.path}/wsconnect/x", {"url": "ws://127.0.0.1:9"})
            assert refused.value.http_status == 504
            assert "within 0.5 s" in str(refused.value)
            job = await serving_job(client, agent, ECHO)
            assert await connect(client, job, "/", f"WS://127.0.0.1:{mute.getsockname()[1]}") == 200
            assert "too long" in (await told_of_bridge(events))["detail"]


SILENT = """
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
kept = []
while True:
    kept.append(listener.accept())
"""


async def test_a_subprotocol_that_nobody_offered_goes_no_further(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for chosen in ("three", r"two\nX-Evil: 1", "two, one"):
            job = await serving_job(client, agent, CHOOSES.replace("CHOSEN", chosen))
            with pytest.raises(RequestFailed) as refused:
                await client.request("POST", f"{job.path}/wsconnect/x", {"url": "ws://127.0.0.1:9"})
            assert refused.value.http_status == 502
            assert await connect(client, job, "/", "ws://127.0.0.1:9") == 502


CHOOSES = r"""
import base64, hashlib, os, re, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    asked = connection.recv(65536)
    found = re.search(rb"Sec-WebSocket-Key: (.*)\r\n", asked)
    if found is None:
        continue
    accept = base64.b64encode(hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    head = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
    connection.sendall(head + b"\r\nSec-WebSocket-Protocol: CHOSEN\r\n\r\n")
"""


async def test_a_bridge_to_a_server_with_tls(fleet, tmp_path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {certificate}"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    made = await asyncio.create_subprocess_exec("openssl", *words.split(), *names, stderr=asyncio.subprocess.DEVNULL)
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    router = fleet.router(environ={"SSL_CERT_FILE": str(certificate)})
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    mine = Caller()
    async with (
        router.client() as client,
        client.session.get(f"{client.url}/events") as events,
        serve(mine.take, "127.0.0.1", 0, subprotocols=["two"], ssl=context) as server,
    ):
        port = server.sockets[0].getsockname()[1]
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "/tls", f"wss://localhost:{port}/in?a=b") == 200
        connection = await mine.connection()
        assert connection.request is not None
        assert (connection.request.path, connection.request.headers["Host"]) == ("/in?a=b", f"localhost:{port}")
        assert await connection.recv() == "hello from /tls two"
        assert await connect(client, job, "/tls", f"wss://127.0.0.1:{port}") == 200
        assert "certificate" in (await told_of_bridge(events))["detail"]
        mine.over.set()


async def test_a_bridge_that_is_asked_for_twice_with_a_key_is_one(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)

        async def ask(url: str) -> int:
            place = f"{client.url}{job.path}/wsconnect/x"
            async with client.session.post(place, json={"url": url}, headers=TWO | {"Idempotency-Key": "b"}) as answer:
                return answer.status

        assert await asyncio.gather(*(ask(mine.url) for _ in range(3))) == [200, 200, 200]
        assert await ask(mine.url) == 200
        assert await ask(mine.url + "/other") == 409
        await mine.connection()
        assert await connect(client, job, "/last", mine.url) == 200
        assert await (await mine.connection()).recv() == "hello from /last two", "no other came in between"

"""A job's websocket joined to one of the caller's own server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    headers = {"Sec-WebSocket-Protocol": "two"}  # both servers want one
    async with client.session.post(
        f"{client.url}{job.path}/wsconnect{rest}", json={"url": url}, headers=headers
    ) as answer:
        return answer.status


async def test_messages_pass_both_ways_with_path_and_subprotocol(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "/some/where?x=1", f"{mine.url}/in") == 200
        socket = await mine.connection()
        assert socket.request is not None
        assert socket.request.path == "/in"
        assert socket.subprotocol == "two"
        assert await socket.recv() == "hello from /some/where?x=1 two"
        for message in ("text", b"bytes", "", b"", "ü" * 70000, bytes(3_000_000)):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["in", "parts"])
        assert await socket.recv() == "inparts"
        await (await socket.ping())


async def test_close_codes_pass(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        as_originals_say = mine.url.replace("ws://", "HTTP://")
        assert await connect(client, job, "/closes", as_originals_say) == 200
        socket = await mine.connection()
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4001, "as asked")


async def test_a_job_that_dies_is_a_cut(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, caller() as mine:
        job = await serving_job(client, agent, ECHO)
        assert await connect(client, job, "", mine.url) == 200
        socket = await mine.connection()
        await socket.recv()
        await job.signal("KILL")
        await socket.wait_closed()
        assert socket.close_code == 1006


async def test_what_fails_before_the_job_answers_is_told_to_the_caller(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        assert await connect(client, job, "/", "ws://127.0.0.1:9") == 404
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
        async with asyncio.timeout(20):
            async for line in events.content:
                if line.startswith(b"data: ") and b"bridge" in line:
                    break
        told = json.loads(line.removeprefix(b"data: "))
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

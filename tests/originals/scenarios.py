"""What a client of the original does, one story a method, told with the original's routes alone.

Each story is `async def story(client: OriginalClient)` and is true of any router with any agent (test_matrix.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import sys
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from recordings import read
from yarl import URL

TIMEOUT = aiohttp.ClientTimeout(total=60)


def job_server() -> bytes:
    """The program of the recordings, as it was uploaded in them."""
    messages = read("http_get").messages
    return bytes(next(each.fields[2] for each in messages if each.kind == 4 and b"golden-job" in each.fields[2]))


@dataclass(frozen=True)
class Heard:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class OriginalClient:
    """A router's URL, a locator of the agent, and requests as the original's own client sends them."""

    def __init__(self, base: str, locator: dict[str, str], job_server: bytes) -> None:
        self.base = base
        self.locator = locator
        self.job_server = job_server

    async def ask(self, verb: str, path: str, *, status: int = 200, **request: Any) -> Heard:
        """The answer, which must have this status. `path` is raw."""
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(verb, URL(self.base + path, encoded=True), allow_redirects=False, **request) as answer,
        ):
            heard = Heard(answer.status, answer.headers, await answer.read())
        assert heard.status == status, heard
        return heard

    async def refused(self, verb: str, path: str, **request: Any) -> Heard:
        """The answer, which must be an error of the caller's or the job's: nothing of ours broke."""
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(verb, URL(self.base + path, encoded=True), **request) as answer,
        ):
            heard = Heard(answer.status, answer.headers, await answer.read())
        assert heard.status >= 400, heard
        return heard

    async def create(self, name: str = "matrix") -> str:
        """The path of a new job."""
        info = (await self.ask("POST", "/jobs/create", json={"agent": self.locator, "name": name})).json
        assert (info["state"], info["name"]) == ("NEW", name)
        assert set(info["sender"]) == {"direction", "uid", "name"}
        assert len(info["uid"]) == 32
        assert info["agent"]["platform"]["system"]
        return str(info["path"])

    async def served(self) -> str:
        """The path of a job that runs the recordings' own server."""
        path = await self.create()
        await self.ask("POST", f"{path}/file/job_server.py", data=io.BytesIO(self.job_server))
        body = {"args": [sys.executable, "job_server.py"], "env": {}, "cwd": None, "port_expected_count": 1}
        assert (await self.ask("POST", f"{path}/start", json=body)).json["state"] == "RUNNING"
        return path

    async def remove(self, path: str) -> None:
        await self.ask("POST", f"{path}/remove")
        assert b"not found" in (await self.ask("GET", f"{path}/info", status=404)).body


async def create_info_remove(client: OriginalClient) -> None:
    path = await client.create("golden job")
    assert (await client.ask("GET", f"{path}/info")).json["state"] == "NEW"
    await client.remove(path)


async def batch_and_wait(client: OriginalClient) -> None:
    path = await client.create()
    await client.ask("POST", f"{path}/file/sub/dir/input.txt", data=io.BytesIO(b"golden input\n"))
    program = 'echo "$GREETING"; basename "$PWD"; cat input.txt; echo oops >&2; exit 3'
    body = {
        "args": ["sh", "-c", program],
        "env": {"GREETING": "hello wörld", "EMPTY": ""},
        "cwd": "sub/dir",
        "port_expected_count": 0,
    }
    await client.ask("POST", f"{path}/start", json=body)
    assert (await client.ask("POST", f"{path}/wait")).json["state"] == "FINISHED"
    assert (await client.ask("POST", f"{path}/wait")).json["state"] == "FINISHED"
    out = await client.ask("GET", f"{path}/file/.pagent.stdout")
    assert out.body.decode() == "hello wörld\ndir\ngolden input\n"
    assert (await client.ask("GET", f"{path}/file/.pagent.stderr")).body == b"oops\n"
    await client.remove(path)


async def http_get(client: OriginalClient) -> None:
    path = await client.served()
    target = f"{path}/http/a%20b/%C3%BC/c?x=1&x=2&empty=&q=a%26b+c%2Bd"
    heard = await client.ask("GET", target, headers={"X-Golden": "one"})
    seen = heard.json
    assert seen["target"] == "/a%20b/%C3%BC/c?x=1&x=2&empty=&q=a%26b+c%2Bd"
    assert ["X-Golden", "one"] in seen["headers"]
    assert heard.headers.getall("Set-Cookie")[0].startswith("a=1")
    assert heard.headers.getall("Set-Cookie")[1].startswith("b=2")
    assert heard.headers["ETag"] == '"golden"'
    await client.remove(path)


async def doubled_slashes(client: OriginalClient) -> None:
    path = await client.served()
    seen = (await client.ask("GET", f"{path}/http//a//b")).json["target"]
    assert seen in ("//a//b", "/a//b")  # Python's own server takes one of the first two away
    await client.remove(path)


async def http_post(client: OriginalClient) -> None:
    path = await client.served()
    data = random.Random(1).randbytes(102_400)
    heard = await client.ask("POST", f"{path}/http/upload?kind=golden", data=io.BytesIO(data))
    assert heard.body.decode() == f"102400 {hashlib.sha256(data).hexdigest()}"
    empty = await client.ask("POST", f"{path}/http/upload", data=b"")
    assert empty.body.startswith(b"0 ")
    await client.remove(path)


async def http_post_chunked(client: OriginalClient) -> None:
    """As long as many windows and queues, in pieces of every size."""
    pieces = [random.Random(size).randbytes(size) for size in (1, 70_000, 65_536, 5, 900_000, 300_000) * 3]

    async def body() -> Any:
        for piece in pieces:
            yield piece

    path = await client.create()
    await client.ask("POST", f"{path}/file/big", data=body())
    assert (await client.ask("GET", f"{path}/file/big")).body == b"".join(pieces)
    await client.remove(path)


async def http_head_and_304(client: OriginalClient) -> None:
    path = await client.served()
    head = await client.ask("HEAD", f"{path}/http/page?x=1")
    assert head.body == b""
    assert head.headers["ETag"] == '"golden"'
    cached = await client.ask("GET", f"{path}/http/cached", status=304, headers={"If-None-Match": '"golden"'})
    assert cached.body == b""
    await client.remove(path)


async def http_chunked_and_gzip(client: OriginalClient) -> None:
    path = await client.served()
    chunked = await client.ask("GET", f"{path}/http/chunked")
    assert chunked.body
    for accepts in ({"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}):
        heard = await client.ask("GET", f"{path}/http/gzip", headers=accepts)
        assert len(heard.body) == 3800
    await client.remove(path)


async def http_without_an_answer(client: OriginalClient) -> None:
    path = await client.create()
    assert (await client.refused("GET", f"{path}/http/")).status < 600  # NEW: serves nothing
    await client.remove(path)
    path = await client.served()
    await client.ask("GET", f"{path}/http/drop", status=502)
    await client.ask("GET", f"{path}/http/quit")
    assert (await client.ask("POST", f"{path}/wait")).json["state"] == "FINISHED"
    await client.refused("GET", f"{path}/http/")
    await client.remove(path)


async def websocket_echo(client: OriginalClient) -> None:
    path = await client.served()
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.ws_connect(f"{client.base}{path}/http/ws_echo?x=1") as websocket,
    ):
        for text in ("golden text ü", "", "x" * 1000):
            await websocket.send_str(text)
            assert await websocket.receive_str(timeout=20) == text
        for data in (b"golden bytes \x00\xff", b"", random.Random(2).randbytes(1000)):
            await websocket.send_bytes(data)
            assert await websocket.receive_bytes(timeout=20) == data
        assert await websocket.close()
    await client.remove(path)


async def websocket_closed_by_job(client: OriginalClient) -> None:
    path = await client.served()
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.ws_connect(f"{client.base}{path}/http/ws_bye") as websocket,
    ):
        assert await websocket.receive_str(timeout=20) == "goodbye"
        assert (await websocket.receive(timeout=20)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await client.remove(path)


async def websocket_rejected(client: OriginalClient) -> None:
    path = await client.served()
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{client.base}{path}/http/no_websocket")
        assert refused.value.status >= 400
    await client.remove(path)


async def wsconnect_to_the_callers_server(client: OriginalClient) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def mine(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str("from the caller")
        async for message in websocket:
            heard.put_nowait(message.data)
            await websocket.close()
        return websocket

    app = web.Application()
    app.router.add_get("/mine", mine)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/mine"
        path = await client.served()
        await client.ask("POST", f"{path}/wsconnect/ws_echo", json={"url": url})
        async with asyncio.timeout(20):
            assert await heard.get() == "from the caller"
        await client.remove(path)
    finally:
        await runner.cleanup()


async def files(client: OriginalClient) -> None:
    path = await client.create()
    data = random.Random(3).randbytes(204_800)
    await client.ask("POST", f"{path}/file/data/big.bin", data=io.BytesIO(data))
    down = await client.ask("GET", f"{path}/file/data/big.bin")
    assert down.body == data
    assert down.headers["Content-Length"] == "204800"
    await client.ask("POST", f"{path}/file/empty", data=b"")
    assert (await client.ask("GET", f"{path}/file/empty?remove=1")).body == b""
    await client.refused("GET", f"{path}/file/empty")
    await client.remove(path)


async def a_text_body(client: OriginalClient) -> None:
    path = await client.create()
    await client.ask("POST", f"{path}/file/text.txt", data="a text body ü")
    assert (await client.ask("GET", f"{path}/file/text.txt")).body.decode() == "a text body ü"
    await client.remove(path)


async def an_executable(client: OriginalClient) -> None:
    path = await client.create()
    script = b"#!/bin/sh\necho run > out.txt\n"
    await client.ask("POST", f"{path}/file/run.sh?executable=1", data=io.BytesIO(script))
    await client.ask("POST", f"{path}/start", json={"args": ["./run.sh"], "port_expected_count": 0})
    await client.ask("POST", f"{path}/wait")
    assert (await client.ask("GET", f"{path}/file/out.txt?remove=1")).body == b"run\n"
    await client.remove(path)


async def files_that_can_not_be_had(client: OriginalClient) -> None:
    path = await client.create()
    await client.refused("GET", f"{path}/file/missing.txt")
    await client.ask("POST", f"{path}/file/dir/a.txt", data=io.BytesIO(b"data"))
    await client.refused("GET", f"{path}/file/dir")
    await client.refused("GET", f"{path}/file//golden/missing.txt")
    await client.refused("POST", f"{path}/file//golden/missing.txt", data=io.BytesIO(b"data"))
    await client.remove(path)


async def archives(client: OriginalClient) -> None:
    path = await client.create()
    members = {"a.txt": b"a", "dir/c.txt": b"c" * 1000, "dir/ü.txt": b"u", "skip.txt": b"s", "b.bin": b"\0" * 70_000}
    up = io.BytesIO()
    with tarfile.open(fileobj=up, mode="w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    await client.ask("POST", f"{path}/archive", data=io.BytesIO(up.getvalue()))

    async def down(query: str) -> dict[str, bytes]:
        heard = await client.ask("GET", f"{path}/archive{query}")
        with tarfile.open(fileobj=io.BytesIO(heard.body)) as tar:
            return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]

    whole = await down("")
    assert {name: whole.get(name) for name in members} == members
    chosen = {"a.txt": b"a", "dir/c.txt": b"c" * 1000, "dir/ü.txt": b"u"}
    assert await down("?include=*.txt&exclude=skip*") == chosen
    assert await down("?include=*.txt&exclude=skip*&compress=1") == chosen
    await client.refused("POST", f"{path}/archive", data=io.BytesIO(b"this is not a tar"))
    await client.remove(path)


async def starts_that_fail(client: OriginalClient) -> None:
    for args in (["/no/such/program"], ["sh", "-c", "exit 3"]):
        path = await client.create()
        await client.refused("POST", f"{path}/start", json={"args": args})
        assert (await client.ask("GET", f"{path}/info")).json["state"] == "FINISHED"
        assert (await client.ask("POST", f"{path}/wait")).json["state"] == "FINISHED"
        await client.remove(path)


async def starting_twice(client: OriginalClient) -> None:
    path = await client.create()
    body = {"args": ["sleep", "60"], "port_expected_count": 0}
    await client.ask("POST", f"{path}/start", json=body)
    await client.refused("POST", f"{path}/start", json=body)
    assert (await client.ask("GET", f"{path}/info")).json["state"] == "RUNNING"
    await client.remove(path)


async def removed_while_waiting(client: OriginalClient) -> None:
    path = await client.create()
    await client.ask("POST", f"{path}/start", json={"args": ["sleep", "60"], "port_expected_count": 0})
    waiting = asyncio.create_task(client.ask("POST", f"{path}/wait"))
    await asyncio.sleep(0.2)  # the wait is on its way; it ends well, or as one of a job that is gone
    await client.remove(path)
    assert (await waiting).json["state"] == "FINISHED"


async def an_unknown_job(client: OriginalClient) -> None:
    path = await client.create()
    await client.remove(path)
    for verb, action in (("POST", "start"), ("POST", "wait"), ("POST", "remove"), ("GET", "info")):
        body = {"json": {"args": ["true"]}} if action == "start" else {}
        heard = await client.ask(verb, f"{path}/{action}", status=404, **body)
        assert b"job" in heard.body.lower()
        assert b"not found" in heard.body
    for action in ("file/x", "http/", "archive"):
        await client.refused("GET", f"{path}/{action}")


async def an_unknown_agent(client: OriginalClient) -> None:
    body = {"agent": {"type": "uid", "uid": "nobody"}, "name": "x"}
    await client.ask("POST", "/jobs/create", status=404, json=body)
    heard = await client.ask("GET", f"/jobs/nobody/{'0' * 32}/info", status=404)
    assert b"connection" in heard.body.lower()
    assert b"not found" in heard.body


async def a_request_that_is_none(client: OriginalClient) -> None:
    body = {"name": "x", "agent": {"wrong key here": "whatever"}}
    assert b"Invalid request" in (await client.ask("POST", "/jobs/create", status=400, json=body)).body


Story = Callable[[OriginalClient], Awaitable[None]]
STORIES: tuple[Story, ...] = (
    create_info_remove,
    batch_and_wait,
    http_get,
    doubled_slashes,
    http_post,
    http_post_chunked,
    http_head_and_304,
    http_chunked_and_gzip,
    http_without_an_answer,
    websocket_echo,
    websocket_closed_by_job,
    websocket_rejected,
    wsconnect_to_the_callers_server,
    files,
    a_text_body,
    an_executable,
    files_that_can_not_be_had,
    archives,
    starts_that_fail,
    starting_twice,
    removed_while_waiting,
    an_unknown_job,
    an_unknown_agent,
    a_request_that_is_none,
)

"""An original agent on our router, beyond what every client does: what it can not do, and what its protocol lacks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from imitations import Imitation, Originals
from scenarios import job_server
from yarl import URL

from prouter.testing import Fleet, RouterDaemon, eventually

MIB = 1024 * 1024
ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
PROMPT_SECONDS = 3.0
"""For a call that nothing is allowed to delay, on a slow machine."""
SERVER = """
import os, sys, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        if self.path == "/events":
            self.send_response(200); self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close"); self.end_headers()
            self.wfile.write(b"data: one\\n\\n"); self.wfile.flush()
            while not os.path.exists("go-on"): time.sleep(0.02)
            self.wfile.write(b"data: two\\n\\n")
            self.close_connection = True
        elif self.path == "/bare":
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
        else:
            self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers()
            self.wfile.write(b"ok")
    def do_POST(self):
        got = 0
        while got < int(self.headers["Content-Length"]):
            got += len(self.rfile.read1(65536))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    do_PUT = do_POST
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
urllib.request.urlopen("%s?job_id=%s&port=%d" % (
    os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"], server.server_port)).read()
server.serve_forever()
"""


@dataclass
class Place:
    """A router with one original agent that dialed in."""

    router: RouterDaemon
    agent: Imitation
    session: aiohttp.ClientSession

    def url(self, path: str) -> URL:
        return URL(self.router.url() + path, encoded=True)

    async def ask(self, verb: str, path: str, status: int = 200, **request: Any) -> Any:
        """The answer's body, JSON where it is."""
        async with self.session.request(verb, self.url(path), allow_redirects=False, **request) as answer:
            body = await answer.read()
            assert answer.status == status, (answer.status, body)
            return await answer.json(content_type=None) if b"json" in answer.content_type.encode() else body

    async def job(self) -> str:
        body = {"agent": {"type": "uid", "uid": self.agent.uid}, "name": "a job"}
        return str((await self.ask("POST", "/jobs/create", json=body))["path"])

    async def serving(self) -> str:
        path = await self.job()
        await self.ask("POST", f"{path}/file/server.py", data=io.BytesIO(SERVER.encode()))
        await self.ask("POST", f"{path}/start", json={"args": [sys.executable, "server.py"]})
        return path

    async def connected(self) -> None:
        async def there() -> bool:
            agents = (await self.ask("GET", "/agents"))["agents"]
            return any(agent["uid"] == self.agent.uid and agent["connected"] for agent in agents)

        await eventually(there, what="the original agent")


@asynccontextmanager
async def place(
    fleet: Fleet, originals: Originals, *words: str, settings: tuple[str, ...] = ()
) -> AsyncIterator[Place]:
    router = fleet.router(*settings)
    host, port = router.address("server")
    agent = originals.agent(
        "--reconnect-delay", "0.2", *words, router=f"{host}:{port}", token=router.agent_token, uid="old/agent"
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        made = Place(router, agent, session)
        await made.connected()
        yield made


async def test_nothing_is_asked_of_it_before_it_knows_that_it_is_connected(fleet, originals) -> None:
    """An original loses a call that comes too early, and nobody would ever answer it."""
    router = fleet.router()
    host, port = router.address("server")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:

        async def created() -> bool:
            body = {"agent": {"type": "uid", "uid": "early"}, "name": "x"}
            async with session.post(f"{router.url()}/jobs/create", json=body) as answer:
                return answer.status == 200

        creating = asyncio.create_task(eventually(created))
        originals.agent("--connected-turns", "3", router=f"{host}:{port}", token=router.agent_token, uid="early")
        await creating


async def test_what_it_does_not_tell_is_null(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        path = await here.serving()
        info = await here.ask("GET", f"{path}/info")
        unknown = ("exit_code", "reason", "created_at", "started_at", "finished_at", "pid", "activity")
        assert {name: info[name] for name in unknown} == dict.fromkeys(unknown)
        assert (info["ports"], info["labels"]) == ({"http": None}, {})
        (agent,) = (await here.ask("GET", "/agents"))["agents"]
        assert agent["version"] is None


BEYOND_IT = (
    ("POST", "/stop", {}),
    ("POST", "/signal", {"signal": "INT"}),
    ("POST", "/restart", None),
    ("GET", "/output", None),
    ("GET", "/files", None),
    ("POST", "/files", {"mkdir": "x"}),
    ("DELETE", "/file/x", None),
    ("GET", "/archive?format=zip", None),
    ("GET", "/archive?path=x", None),
    ("POST", "/start", {"args": ["true"], "port": {"mode": "assign"}}),
    ("POST", "/start", {"args": ["true"], "port_expected_count": 0, "timeout": 5}),
    ("POST", "/start", {"args": ["true"], "port_expected_count": 0, "limits": {"processes": 5}}),
)


async def test_what_it_can_not_do_is_501_with_a_sentence(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        path = await here.job()
        for verb, action, body in BEYOND_IT:
            problem = await here.ask(verb, path + action, 501, **({} if body is None else {"json": body}))
            assert problem["type"] == "urn:prouter:not-possible", (verb, action)
            assert "original" in problem["detail"], (verb, action)
        assert (await here.ask("GET", f"{path}/info"))["state"] == "NEW"


async def test_labels_a_chosen_uid_and_keys_are_501_and_make_no_job(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        body = {"agent": {"type": "uid", "uid": here.agent.uid}, "name": "x"}
        await here.ask("POST", "/jobs/create", 501, json=body | {"labels": {"a": "b"}})
        await here.ask("POST", "/jobs/create", 501, json=body | {"uid": "0" * 32})
        await here.ask("POST", "/jobs/create", 503, json=body | {"resources": {"gpu": 1}})
        await here.ask("POST", "/jobs/create", 501, json=body, headers={"Idempotency-Key": "k"})
        assert (await here.ask("GET", "/jobs"))["jobs"] == []


async def test_its_jobs_end_with_its_link_and_say_so(fleet, originals) -> None:
    async with place(fleet, originals, settings=("links.ping_interval=1",)) as here:
        running, new = await here.serving(), await here.job()
        waiting = asyncio.create_task(here.ask("POST", f"{running}/wait"))
        await eventually(lambda: not waiting.done())
        here.agent.process.send_signal(signal.SIGSTOP)  # no word is heard of it any more: the router gives the link up
        try:
            lost = await waiting
        finally:
            here.agent.process.send_signal(signal.SIGCONT)
        assert (lost["state"], lost["reason"], lost["agent"]["connected"]) == ("FINISHED", "agent-lost", False)
        await here.connected()
        for path in (running, new):
            info = await here.ask("GET", f"{path}/info")
            assert (info["state"], info["reason"]) == ("FINISHED", "agent-lost")
            await here.ask("POST", f"{path}/remove")
            await here.ask("GET", f"{path}/info", 404)
        await here.serving()


async def test_a_client_that_reads_nothing_delays_nobody_and_gets_all_in_the_end(fleet, originals) -> None:
    """More than all buffers and the memory of one stream hold goes into a file."""
    async with place(fleet, originals) as here:
        path = await here.job()
        data = random.Random(1).randbytes(MIB) * 48
        await here.ask("POST", f"{path}/file/big", data=io.BytesIO(data))
        async with here.session.get(here.url(f"{path}/file/big")) as answer:
            assert (await answer.content.readexactly(10)) == data[:10]
            for _ in range(5):
                async with asyncio.timeout(PROMPT_SECONDS):
                    await here.ask("GET", f"{path}/file/.pagent.missing", 404)
            rest = await answer.read()
        assert hashlib.sha256(data[:10] + rest).digest() == hashlib.sha256(data).digest()
        assert here.router.memory_bytes() < 200 * MIB


async def test_many_requests_and_websockets_go_on_beside_one_that_is_slow(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        path = await here.job()
        await here.ask("POST", f"{path}/file/server.py", data=io.BytesIO(job_server()))
        await here.ask("POST", f"{path}/file/big", data=io.BytesIO(bytes(MIB) * 24))
        await here.ask("POST", f"{path}/start", json={"args": [sys.executable, "server.py"]})

        async def echoes(number: int) -> None:
            async with here.session.ws_connect(here.url(f"{path}/http/ws_echo")) as websocket:
                for turn in range(5):
                    await websocket.send_str(f"{number} {turn}")
                    assert await websocket.receive_str(timeout=30) == f"{number} {turn}"

        async with here.session.get(here.url(f"{path}/file/big")) as slow:
            assert await slow.content.readexactly(1000) == bytes(1000)
            await asyncio.gather(
                *(here.ask("GET", f"{path}/http/page?x={number}") for number in range(30)),
                *(echoes(number) for number in range(20)),
                *(here.ask("POST", f"{path}/file/{number}", data=io.BytesIO(bytes(100_000))) for number in range(10)),
            )
            assert len(await slow.read()) == 24 * MIB - 1000


@pytest.mark.parametrize(
    "limit",
    ["originals.stream_file_bytes=1048576", "originals.all_files_bytes=1048576", "originals.directory='/nowhere'"],
)
async def test_what_a_slow_client_leaves_is_bounded_and_only_that_stream_is_cut(fleet, originals, limit) -> None:
    async with place(fleet, originals, settings=(limit,)) as here:
        path = await here.job()
        await here.ask("POST", f"{path}/file/big", data=io.BytesIO(bytes(MIB) * 48))
        async with here.session.get(here.url(f"{path}/file/big")) as answer:
            await eventually(lambda: "breaks off" in here.router.log)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        await here.ask("POST", f"{path}/file/small", data=io.BytesIO(b"small"))
        assert await here.ask("GET", f"{path}/file/small") == b"small"


async def test_a_client_that_leaves_amid_an_answer_does_no_harm(fleet, originals) -> None:
    """Chunks of a call that is cancelled come for a while still."""
    async with place(fleet, originals, "--cancel-delay-seconds", "0.5") as here:
        path = await here.job()
        await here.ask("POST", f"{path}/file/big", data=io.BytesIO(bytes(MIB) * 16))
        for _ in range(3):
            async with here.session.get(here.url(f"{path}/file/big")) as answer:
                await answer.content.readexactly(1000)
                answer.close()
        assert len(await here.ask("GET", f"{path}/file/big")) == 16 * MIB


async def test_events_come_when_they_are_sent(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        path = await here.serving()
        async with here.session.get(here.url(f"{path}/http/events")) as answer:
            assert await answer.content.readline() == b"data: one\n"
            await here.ask("POST", f"{path}/file/go-on", data=b"")
            assert await answer.content.read() == b"\ndata: two\n\n"


async def test_an_answer_has_no_headers_but_the_jobs(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        path = await here.serving()
        async with here.session.get(here.url(f"{path}/http/bare")) as answer:
            assert await answer.read() == b"hi"
            assert not {"Server", "Date", "Content-Type", "Content-Length"} & set(answer.headers)


async def test_uploads_wait_for_an_agent_that_reads_slowly(fleet, originals) -> None:
    """A call that is sent faster than it is read fails with status 30; one that is paced arrives whole."""
    async with place(fleet, originals, "--receive-delay-seconds", "0.01") as here:
        path = await here.job()
        data = random.Random(2).randbytes(24 * MIB)
        await here.ask("POST", f"{path}/file/big", data=io.BytesIO(data))
        assert await here.ask("GET", f"{path}/file/big") == data


async def test_an_upload_that_the_agent_can_not_take_is_503_and_the_link_lives(fleet, originals) -> None:
    words = ("--queue-messages", "2", "--queue-seconds", "0.2", "--receive-delay-seconds", "1")
    originals.expected_violations.append("the queue of call")
    async with place(fleet, originals, *words) as here:
        path = await here.job()
        async with here.session.post(here.url(f"{path}/file/big"), data=io.BytesIO(bytes(16 * MIB))) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            problem = await answer.json(content_type=None)
            assert (problem["type"], problem["retryable"]) == ("urn:prouter:peer-busy", True)
        await here.ask("POST", f"{path}/file/small", data=io.BytesIO(b"small"))
        assert await here.ask("GET", f"{path}/file/small") == b"small"
        assert here.agent.lines("LINK ENDED") == []


async def test_a_dialed_original_is_dropped_when_its_last_job_is_gone(fleet, originals) -> None:
    router, agent = fleet.router("client.polling_delay=0.5"), originals.agent(token="t")
    async with aiohttp.ClientSession() as session:
        here = Place(router, agent, session)
        assert (await here.ask("GET", "/connections"))["connections"] == []
        locator = {"type": "address", "address": agent.address(), "token": "t"}
        job = await here.ask("POST", "/jobs/create", json={"agent": locator, "name": "x"})
        (connection,) = (await here.ask("GET", "/connections"))["connections"]
        assert (connection["mode"], connection["peer"]["auth"]["uid"]) == ("CLIENT", agent.uid)
        await here.ask("POST", f"{job['path']}/start", json={"args": ["sleep", "1"], "port_expected_count": 0})
        await here.ask("POST", f"{job['path']}/wait")
        await here.ask("POST", f"{job['path']}/remove")

        async def gone() -> bool:
            return (await here.ask("GET", "/connections"))["connections"] == []

        await eventually(gone, what="the end of the connection")


async def test_a_second_agent_of_the_same_uid_waits_until_the_first_is_gone(fleet, originals) -> None:
    patient = ("links.takeover_timeout=20",)  # a first one on a slow machine is alive all the same
    async with place(fleet, originals, settings=patient) as here:
        path = await here.job()
        host, port = here.router.address("server")
        other = originals.agent(
            "--reconnect-delay", "0.2", router=f"{host}:{port}", token=here.router.agent_token, uid=here.agent.uid
        )
        await eventually(lambda: "connected already" in here.router.log)
        assert (await here.ask("GET", f"{path}/info"))["state"] == "NEW"
        here.agent.kill()
        await eventually(lambda: other.lines("LINK "))

        async def made() -> bool:
            body = {"agent": {"type": "uid", "uid": here.agent.uid}, "name": "x"}
            async with here.session.post(here.url("/jobs/create"), json=body) as answer:
                return answer.status == 200

        await eventually(made)


async def test_a_large_message_of_a_client_ends_its_websocket_only(fleet, originals) -> None:
    async with place(fleet, originals) as here:
        path = await here.job()
        await here.ask("POST", f"{path}/file/server.py", data=io.BytesIO(job_server()))
        await here.ask("POST", f"{path}/start", json={"args": [sys.executable, "server.py"]})
        async with here.session.ws_connect(here.url(f"{path}/http/ws_echo")) as websocket:
            with contextlib.suppress(ConnectionError):  # it is closed before all of it is sent
                await websocket.send_bytes(bytes(5 * MIB))
            assert (await websocket.receive(timeout=20)).type in ENDS
        async with here.session.ws_connect(here.url(f"{path}/http/ws_echo")) as websocket:
            await websocket.send_str("still there")
            assert await websocket.receive_str(timeout=20) == "still there"

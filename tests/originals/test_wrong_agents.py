"""An original agent that answers what no original answers, or nearly nothing: one request fails, nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack
import pytest
from bare_peer import BarePeer, greeted

from prouter.errors import JobNotFound, Unauthorized
from prouter.rpc import websocket
from prouter.rpc.calls import CallContext
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods
from prouter.testing import Fleet, RouterDaemon, eventually

UID = "0123456789abcdef0123456789abcdef"
SECONDS = aiohttp.ClientTimeout(total=20)


class WrongAgent:
    """Its jobs run at once; `streams` says for each method what it sends."""

    def __init__(self, **streams: list[Any]) -> None:
        self.streams = streams
        self.asked: list[str] = []
        self.state = "NEW"
        self.answers: dict[str, Callable[[], Any]] = {}
        self.ends_waits = asyncio.Event()

    def info(self, **other: Any) -> dict[str, Any]:
        sender = {"direction": "CLIENT", "uid": "r", "name": "r"}
        return {"uid": UID, "name": "n", "state": self.state, "sender": sender} | other

    def methods(self) -> Methods:
        methods = Methods()
        for name in ("job_create", "job_start", "job_info", "job_wait", "job_remove", "job_count_current_connection"):
            methods.add(name, self._unary(name))
        for name, kind in (
            ("http_request", CallType.BISTREAM),
            ("ws_connect", CallType.BISTREAM),
            ("file_download", CallType.ISTREAM),
        ):
            methods.add(name, self._stream(name), kind)
        methods.add("file_upload", self._upload, CallType.OSTREAM)
        return methods

    def _unary(self, name: str) -> Any:
        async def answer(context: CallContext, *args: Any) -> Any:
            self.asked.append(name)
            if name in self.answers:
                return self.answers[name]()
            if name == "job_count_current_connection":
                return 0
            if name == "job_start":
                self.state = "RUNNING"
            if name == "job_wait":
                await self.ends_waits.wait()
            return self.info()

        return answer

    def _stream(self, name: str) -> Any:
        async def answer(context: CallContext, *args: Any, **named: Any) -> None:
            self.asked.append(name)
            for value in self.streams.get(name, ()):
                await context.send(value)

        return answer

    async def _upload(self, context: CallContext, *args: Any, **named: Any) -> int:
        self.asked.append("file_upload")
        size = sum([len(chunk) async for chunk in context.values()])
        return self.answers["file_upload"]() if "file_upload" in self.answers else size


@asynccontextmanager
async def connected(router: RouterDaemon, agent: WrongAgent) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the router once the agent is there."""
    host, port = router.address("server")
    channel = await websocket.dial(host, port, ping_interval_seconds=5)
    hello = {"auth": {"uid": "wrong", "name": "wrong", "token": router.agent_token}}
    link = await Link.connect(channel, user_data=hello, methods=agent.methods())
    running = asyncio.create_task(link.run())
    try:
        async with aiohttp.ClientSession(router.url(), timeout=SECONDS) as session:
            await eventually(lambda: _is_there(session))
            yield session
    finally:
        await link.close()
        await running


async def ask(session: aiohttp.ClientSession, verb: str, path: str, **request: Any) -> tuple[int, Any]:
    async with session.request(verb, path, **request) as answer:
        return answer.status, await answer.json(content_type=None) if "json" in answer.content_type else b""


async def started(session: aiohttp.ClientSession) -> str:
    body = {"agent": {"type": "uid", "uid": "wrong"}, "name": "x"}
    status, job = await ask(session, "POST", "/jobs/create", json=body)
    assert status == 200, job
    status, job = await ask(session, "POST", f"{job['path']}/start", json={"args": ["x"]})
    assert (status, job["state"]) == (200, "RUNNING")
    return str(job["path"])


HEADERS_THAT_ARE_NONE = ({"ab": 1}, [["A", "x\r\nB: y"]], [["A b", "x"]], [["A"]], [["A", 5]], 7, "ab")


async def test_answers_that_are_none_are_502(fleet: Fleet) -> None:
    router, agent = fleet.router(), WrongAgent()
    async with connected(router, agent) as session:
        path = await started(session)
        statuses = [[status, []] for status in ("200", True, 99, 1000)]
        headers = [[200, headers] for headers in HEADERS_THAT_ARE_NONE]
        for stream in [*statuses, *headers, [502, []], [200]]:
            agent.streams["http_request"] = stream
            status, problem = await ask(session, "GET", f"{path}/http/")
            assert (status, problem["status"]) == (502, 502), stream
        agent.streams["http_request"] = [502, []]
        _, problem = await ask(session, "GET", f"{path}/http/")
        assert "closed the connection without an answer" in problem["detail"]
        agent.streams["http_request"] = [200, [["A", "b"]], b"fine"]
        async with session.get(f"{path}/http/") as answer:
            assert (await answer.read(), answer.headers["A"]) == (b"fine", "b")


@pytest.mark.parametrize(
    "stream",
    [
        [{"size": 5}, b"abc"],
        [{"size": 5}, b"abcdefgh"],
        [{"size": 2}, "ab"],
        [{"size": 2}, ["a", "b"]],
        [{"size": 2}, 5],
    ],
)
async def test_a_download_that_is_not_what_was_said_is_cut(fleet: Fleet, stream: list[Any]) -> None:
    agent = WrongAgent(file_download=stream)
    async with connected(fleet.router(), agent) as session:
        path = await started(session)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(f"{path}/file/x") as answer:
                await answer.read()


async def test_sizes_that_are_none_are_502(fleet: Fleet) -> None:
    agent = WrongAgent()
    async with connected(fleet.router(), agent) as session:
        path = await started(session)
        for first in ({"size": True}, {"size": -1}, {"size": "5"}, 5, [], b"x"):
            agent.streams["file_download"] = [first, b"abcde"]
            assert (await ask(session, "GET", f"{path}/file/x"))[0] == 502, first


@pytest.mark.parametrize("value", [300_000_000, -1, {}, [1], "not UTF-8: \udc80"])
async def test_a_message_that_is_none_ends_its_websocket(fleet: Fleet, value: Any) -> None:
    agent, router = WrongAgent(ws_connect=[True, value]), fleet.router()
    async with connected(router, agent) as session:
        path = await started(session)
        async with session.ws_connect(f"{path}/http/") as client:
            ended = await client.receive(timeout=15)
            assert ended.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            assert client.close_code in (aiohttp.WSCloseCode.INTERNAL_ERROR, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
        assert router.memory_bytes() < 150 * 1024 * 1024


MESSAGES = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
ANYTHING = (
    *(None, True, False, 0, 1, -1, 200, 204, 304, 404, 2**63, 1.5, "", "text", b"", b"bytes", "\udcff", [], {}, [[]]),
    *([["A", "b"]], [["Content-Length", "5"]], [["Transfer-Encoding", "chunked"]], {"size": 4}, {"size": 0}, [None]),
)


async def test_any_stream_ends_its_request_and_nothing_else(fleet: Fleet) -> None:
    """Hundreds of streams of values at random, in their place or not: no request hangs, the link lives."""
    choose, agent, router = random.Random(1), WrongAgent(), fleet.router()
    begins = {"http_request": [200, [["A", "b"]]], "ws_connect": [True], "file_download": [{"size": 4}]}
    async with connected(router, agent) as session:
        path = await started(session)

        async def request(method: str) -> None:
            if method == "ws_connect":
                with contextlib.suppress(aiohttp.WSServerHandshakeError):
                    async with session.ws_connect(f"{path}/http/") as client:
                        while (await client.receive(timeout=15)).type in (
                            aiohttp.WSMsgType.TEXT,
                            aiohttp.WSMsgType.BINARY,
                        ):
                            pass
                return
            target = f"{path}/file/x" if method == "file_download" else f"{path}/http/"
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async with session.get(target) as answer:
                    await answer.read()
                    assert answer.status in (200, 204, 304, 404, 502), answer

        for method in list(begins) * 80:
            values = [choose.choice(ANYTHING) for _ in range(choose.randint(0, 4))]
            sound = begins[method][: choose.randint(0, 2)]
            agent.streams[method] = [value for value in (*sound, *values) if value is not None]
            await request(method)
        agent.streams["http_request"] = [200, [], b"fine"]
        async with session.get(f"{path}/http/") as answer:
            assert await answer.read() == b"fine"


async def test_many_small_messages_wait_for_a_slow_client(fleet: Fleet) -> None:
    """More than fit in memory, each for itself nearly nothing: they go to the file many at once."""
    count = 60_000
    agent = WrongAgent(ws_connect=[True, *(f"{number:06} " + "x" * 100 for number in range(count))])
    async with connected(fleet.router(), agent) as session:
        path = await started(session)
        async with session.ws_connect(f"{path}/http/", max_msg_size=0) as client:
            await eventually(lambda: agent.asked.count("ws_connect"))
            await asyncio.sleep(1)  # nobody reads while they come
            for number in range(count):
                assert (await client.receive_str(timeout=15)).startswith(f"{number:06} ")


async def test_the_end_of_a_job_is_asked_for_until_it_is_told(fleet: Fleet) -> None:
    agent = WrongAgent()
    turns = iter(("nonsense", {"uid": UID, "state": "RUNNING"}, "end"))

    def wait() -> Any:
        turn = next(turns)
        if turn == "end":
            agent.state = "FINISHED"
            return agent.info()
        return turn

    agent.answers["job_wait"] = wait
    async with connected(fleet.router(), agent) as session:
        path = await started(session)
        status, job = await ask(session, "POST", f"{path}/wait")
        assert (status, job["state"]) == (200, "FINISHED")


async def test_a_job_that_the_agent_does_not_know_any_more_can_be_removed(fleet: Fleet) -> None:
    agent = WrongAgent()

    def gone() -> Any:
        raise JobNotFound(UID)

    agent.answers["job_remove"] = gone
    async with connected(fleet.router(), agent) as session:
        path = await started(session)
        assert (await ask(session, "POST", f"{path}/remove"))[0] == 200
        assert (await ask(session, "GET", f"{path}/info"))[0] == 404


async def test_a_uid_or_an_error_of_an_agent_is_not_taken_for_ours(fleet: Fleet) -> None:
    def unauthorized() -> Any:
        raise Unauthorized("of the agent")

    agent = WrongAgent()
    body = {"agent": {"type": "uid", "uid": "wrong"}, "name": "x"}
    async with connected(fleet.router(), agent) as session:
        agent.answers["job_create"] = lambda: agent.info(uid="../../x")
        assert (await ask(session, "POST", "/jobs/create", json=body))[0] == 502
        agent.answers["job_create"] = unauthorized
        assert (await ask(session, "POST", "/jobs/create", json=body))[0] == 502


async def test_a_start_goes_on_when_its_client_leaves(fleet: Fleet) -> None:
    agent = WrongAgent()
    body = {"agent": {"type": "uid", "uid": "wrong"}, "name": "x"}
    async with connected(fleet.router(), agent) as session:
        _, job = await ask(session, "POST", "/jobs/create", json=body)
        starting = asyncio.create_task(ask(session, "POST", f"{job['path']}/start", json={"args": ["x"]}))
        await eventually(lambda: "job_start" in agent.asked)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting

        async def runs() -> bool:
            return bool((await ask(session, "GET", f"{job['path']}/info"))[1]["state"] == "RUNNING")

        await eventually(runs)


async def test_a_cwd_that_would_leave_the_job_pending_for_ever_is_not_asked_for(fleet: Fleet) -> None:
    agent = WrongAgent()
    body = {"agent": {"type": "uid", "uid": "wrong"}, "name": "x"}
    async with connected(fleet.router(), agent) as session:
        _, job = await ask(session, "POST", "/jobs/create", json=body)
        status, _ = await ask(session, "POST", f"{job['path']}/start", json={"args": ["x"], "cwd": "/tmp"})
        assert status == 400
        assert "job_start" not in agent.asked


class BusyAgent:
    """Refuses the first call of each streaming method with status 30, as an original whose queue was full."""

    def __init__(self, peer: BarePeer) -> None:
        self.asked: list[str] = []
        self._peer = peer
        self._methods: dict[int, str] = {}

    async def serve(self) -> None:
        while True:
            kind, call_id, *rest = await self._peer.hear()
            if kind == 2:
                self._methods[call_id] = rest[1]
                await self._job(call_id, rest[1])
            elif kind == 5 or (kind == 4 and rest[0] == b""):
                await self._end_of_body(call_id)

    async def _job(self, call_id: int, method: str) -> None:
        sender = {"direction": "CLIENT", "uid": "r", "name": "r"}
        info = {"uid": UID, "name": "x", "state": "RUNNING" if method == "job_start" else "NEW", "sender": sender}
        if method in ("job_create", "job_start"):
            await self._peer.say(7, call_id, msgpack.packb(info), 0, None)

    async def _end_of_body(self, call_id: int) -> None:
        method = self._methods[call_id]
        self.asked.append(method)
        if self.asked.count(method) == 1:
            await self._peer.say(7, call_id, None, 30, ["busy", None, None, None])
        elif method == "http_request":
            for value in (200, [], b"at last"):
                await self._peer.say(8, call_id, value)
            await self._peer.say(7, call_id, msgpack.packb(None), 0, None)
        else:
            await self._peer.say(7, call_id, msgpack.packb(4), 0, None)


@pytest.mark.parametrize(
    ("verb", "action", "body", "expected"),
    [
        ("GET", "http/", b"", 200),
        ("PUT", "http/", b"body", 200),
        ("POST", "http/", b"body", 503),
        ("PUT", "http/", bytes(3 * 1024 * 1024), 503),
        ("POST", "file/x", b"body", 200),
    ],
)
async def test_what_a_busy_agent_refused_is_sent_once_more_where_that_is_safe(
    fleet: Fleet, verb: str, action: str, body: bytes, expected: int
) -> None:
    router = fleet.router()
    host, port = router.address("server")
    async with greeted(f"{host}:{port}", router.agent_token, uid="wrong") as peer:
        agent = BusyAgent(peer)
        serving = asyncio.create_task(agent.serve())
        try:
            async with aiohttp.ClientSession(router.url(), timeout=SECONDS) as session:
                await eventually(lambda: _is_there(session))
                path = await started(session)
                data = {"data": io.BytesIO(body)} if body else {}
                async with session.request(verb, f"{path}/{action}", **data) as answer:
                    assert answer.status == expected, await answer.read()
        finally:
            serving.cancel()
            await asyncio.wait((serving,))
    assert len(agent.asked) == (2 if expected == 200 else 1)


async def _is_there(session: aiohttp.ClientSession) -> bool:
    _, found = await ask(session, "GET", "/agents")
    return [agent["uid"] for agent in found["agents"] if agent["connected"]] == ["wrong"]

"""R17: spoiled frames, requests and bind lines: nothing crashes, hangs, grows or floods, and others do not notice.

At real doors, over sockets; the machine of links alone, a hundred thousand times faster, is in tests/rpc/test_fuzz.py.
An ERROR line of a daemon fails the tests; an exception of a task that nobody saw would be one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import msgpack
import pytest
from figures import LONG, Figures
from proxied import Proxied, joined, new_job
from sampling import Growth
from spoiling import Spoiler, said
from wire import wired

from prouter.model.jobs import JobState
from prouter.pipe.opening import opening_request
from prouter.rpc import websocket as links
from prouter.rpc.calls import CallContext
from prouter.testing import AgentDaemon, FakeAgent, Fleet, RouterDaemon, eventually

JOB = str(Path(__file__).parent / "streaming_job.py")
SEED = int(os.environ.get("PROUTER_TEST_SEED", "1"))
TIMES = int(os.environ.get("PROUTER_SPOILED_TIMES", "500")) if LONG else 1
MESSAGES, REQUESTS, PIPES = 3000 * TIMES, 1500 * TIMES, 300 * TIMES
GROWTH_MIB = 32
SECONDS = 15.0
"""In which anything that was asked for ends."""
COUNTED = 'prouter_connections{endpoint="control"} '
QUESTION = bytes(msgpack.packb([2, 77_777, 20, "nobody_has_this", [], {}]))
ANSWER = bytes(msgpack.packb([7, 77_777, None]))[:-1].replace(b"\x93", b"\x95")
QUIET_SECONDS = 0.05
LINES, LINES_A_SECOND = 60, 10
"""That those can cause whom nobody knows."""
SETTINGS = ("timeouts.head=2", "timeouts.idle=2", "timeouts.half_close=1", "timeouts.relay_idle=4", "timeouts.body=2")


class Scene:
    """A router, an agent that is to suffer, and one that must not notice, with a job that is used all the time."""

    def __init__(self, fleet: Fleet) -> None:
        make = joined(fleet, *SETTINGS, "limits.connections=2000")
        self.bystander = make(JOB)
        self.router = self.bystander.router
        self.victim = fleet.agent(self.router, "pipes.bind_timeout=1", "jobs.max_count=200")
        self.job = self._job_of_victim()
        self.asked = 0
        self._daemons = (self.router, self.victim, self.bystander.agent)

    def _job_of_victim(self) -> Proxied:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                return new_job(self.router, self.victim, "", JOB)
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @contextlib.asynccontextmanager
    async def watched(self, figures: Figures, what: str, *, known: bool = False) -> AsyncIterator[None]:
        growths = [Growth(daemon.pid) for daemon in self._daemons]
        lines = [daemon.log.count("\n") for daemon in self._daemons]
        begun = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
            using = asyncio.create_task(self._use(session))
            try:
                yield
                assert not using.done(), f"somebody else noticed: {using.exception()!r}"
            finally:
                using.cancel()
                await asyncio.wait([using])
        took = time.monotonic() - begun
        grown = max(growth.mib() for growth in growths)
        said = max(daemon.log.count("\n") - before for daemon, before in zip(self._daemons, lines, strict=True))
        figures.record("R17", f"growth under {what}", grown, goal=GROWTH_MIB, unit="MiB", holds=grown <= GROWTH_MIB)
        figures.record("R17", f"log lines a second under {what}", said / took)
        assert self.asked > 0
        assert grown <= GROWTH_MIB
        assert known or said <= LINES + LINES_A_SECOND * took, "the log is flooded"
        await eventually(self._nothing_is_left, what="an end of all connections of those who are gone")
        assert (await self.bystander.ask("/small")).body == b"small"
        assert self.bystander.agent.log.count("linked to router") == 1, "the other agent's link did not live through it"

    async def _nothing_is_left(self) -> bool:
        """But the asker, and links and pipes."""
        async with self.router.client() as client, client.session.get(client.url + "/metrics") as answer:
            counts = [line.split() for line in (await answer.text()).splitlines() if line.startswith(COUNTED)]
        return all(float(count) <= 2 for _, count in counts)

    async def _use(self, session: aiohttp.ClientSession) -> None:
        while True:
            async with session.get(self.router.url() + self.bystander.prefix + "/small") as answer:
                assert answer.status == 200
            for path in ("/jobs", "/agents", "/connections", "/metrics"):  # strange peers are shown there, too
                async with session.get(self.router.url() + path) as answer:
                    text = await answer.text()
                assert answer.status == 200, f"{path}: {text[:1000]}"
                if path != "/metrics":
                    json.loads(text, parse_constant=no_json)
            self.asked += 1
            await asyncio.sleep(0.02)


def no_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all of them: that what one test sent hurts none of the next ones is a part of it."""
    fleet = Fleet(tmp_path_factory.mktemp("spoiled"))
    try:
        yield Scene(fleet)
    finally:
        fleet.close()
    assert not fleet.error_lines()


# --- frames of a link ---


class Peer:
    """Says what was recorded of one side, spoiled, at a door for links."""

    def __init__(self, url: str, sender: str, token: str, seed: int) -> None:
        hello, *self._corpus = said(sender)
        self._url, self._token, self._sender = url, token, sender
        self._hello = msgpack.unpackb(hello if sender == "agent" else _asking(hello), raw=False)
        self._spoiler = Spoiler(seed)
        self.sent = 0
        self.links = 0

    async def known(self, messages: int, uid: str) -> None:
        """Behind a good handshake."""
        while self.sent < messages:
            async with self._websocket() as websocket:
                await websocket.send_bytes(self._introduction(uid))
                first = await websocket.receive(timeout=SECONDS)
                assert first.type is aiohttp.WSMsgType.BINARY, first
                self.links += 1
                await self._speak(websocket, messages)

    async def unknown(self, messages: int, uid: str) -> None:
        """With a spoiled handshake, or a good one with another token."""
        while self.sent < messages:
            async with self._websocket() as websocket:
                hello = self._spoiler.message(self._introduction(uid, "wrong"))
                with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                    await websocket.send_bytes(hello)
                    await websocket.send_bytes(self._spoiled())
                self.sent += 2

    def _introduction(self, uid: str, token: str | None = None) -> bytes:
        hello = msgpack.unpackb(msgpack.packb(self._hello), raw=False)
        hello[2][2]["auth"] = {"uid": uid, "name": "spoiled", "token": token or self._token}
        return bytes(msgpack.packb(hello))

    @contextlib.asynccontextmanager
    async def _websocket(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self._url + links.PATH, protocols=(links.SUBPROTOCOL,), compress=0) as websocket,
        ):
            yield websocket

    def _spoiled(self) -> bytes:
        return self._spoiler.message(self._spoiler.chance.choice(self._corpus))

    async def _speak(self, websocket: aiohttp.ClientWebSocketResponse, messages: int) -> None:
        """Until the link ends. Now and then something that has an answer: what was sent before has been read then."""
        answered = asyncio.Event()

        async def read() -> None:
            async for message in websocket:
                if message.data.startswith(ANSWER):
                    answered.set()
            answered.set()

        reading = asyncio.create_task(read())
        try:
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                while not (reading.done() or websocket.closed) and self.sent < messages:
                    for _ in range(8):
                        await websocket.send_bytes(self._spoiled())
                        self.sent += 1
                    answered.clear()
                    await websocket.send_bytes(QUESTION)
                    await asyncio.wait_for(answered.wait(), SECONDS)
        finally:
            reading.cancel()
            await asyncio.wait([reading])


def _asking(welcome: bytes) -> bytes:
    """The handshake of a router that dials, by what it answers to an agent that did."""
    fields = msgpack.unpackb(welcome, raw=False)
    return bytes(msgpack.packb([1, fields[1], [1, None, fields[2][2]]]))


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("sender", ["agent", "router"])
async def test_spoiled_frames_of_a_peer(scene: Scene, figures: Figures, sender: str, known: bool) -> None:
    door: RouterDaemon | AgentDaemon = scene.router if sender == "agent" else scene.victim
    token = scene.router.agent_token if sender == "agent" else scene.victim.token
    what = f"frames of {'a known' if known else 'an unknown'} {sender}"
    count = MESSAGES if known else MESSAGES // 8
    async with scene.watched(figures, what, known=known), asyncio.timeout(100 * TIMES):
        peers = [Peer(door.url("server"), sender, token, SEED + number) for number in range(4)]
        speak = Peer.known if known else Peer.unknown
        await asyncio.gather(*(speak(peer, count // 4, f"peer-{n}") for n, peer in enumerate(peers)))
    figures.record("R17", f"spoiled {what}", sum(peer.sent for peer in peers))
    if known:
        assert sum(peer.links for peer in peers) >= 4
    assert (await scene.job.ask("/small")).body == b"small"


async def test_a_job_that_is_named_by_a_list_is_not_found(fleet: Fleet) -> None:
    agent = fleet.agent()
    peer = Peer(agent.url("server"), "router", agent.token, SEED)
    async with peer._websocket() as websocket:
        await websocket.send_bytes(peer._introduction("router"))
        await websocket.receive_bytes(timeout=SECONDS)
        await websocket.send_bytes(msgpack.packb([2, 10, 20, "prouter_remove", [["x"]], {}]))
        answer = msgpack.unpackb(await websocket.receive_bytes(timeout=SECONDS), raw=False)
    assert "JobNotFound" in str(answer)


async def test_a_websocket_key_that_is_not_ascii_is_no_handshake(fleet: Fleet) -> None:
    router = fleet.router()
    head = "GET /rpc/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    lines = f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {links.SUBPROTOCOL}\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHN\xa1bXBsZSBub25jZQ==\r\n\r\n"
    async with wired(*router.address("server")) as wire:
        await wire.send((head + lines).encode() + key)
        assert (await wire.head()).status == 400


# --- bytes at the acceptors ---


def requests(scene: Scene) -> list[bytes]:
    host = "Host: {}:{}\r\n".format(*scene.router.address("control"))
    job = f"/jobs/{scene.job.info['uid']}"
    upgrade = "Connection: Upgrade\r\nUpgrade: "
    socket = f"{upgrade}websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    pipe = f"{upgrade}prouter-pipe/1\r\nAuthorization: Ticket {'01' * 16}\r\n"
    chunks = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: x\r\n\r\n"
    made_of_json = "Content-Type: application/json\r\nContent-Length: 14"
    made = [
        f"GET /healthz HTTP/1.1\r\n{host}\r\n",
        f"GET {job}/http/small HTTP/1.1\r\n{host}Accept: */*\r\nX-Request-Id: mine\r\n\r\n",
        f"POST {job}/http/up HTTP/1.1\r\n{host}Content-Length: 11\r\n\r\nhello world",
        f"POST {job}/http/up HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunks}",
        f"PUT {job}/file/spoiled HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello",
        f'POST {job}/files HTTP/1.1\r\n{host}{made_of_json}\r\n\r\n{{"mkdir": "d"}}',
        f"GET /jobs?limit=3 HTTP/1.1\r\n{host}Accept: application/json\r\n\r\n",
        f"GET {job}/http/websocket HTTP/1.1\r\n{host}{socket}\r\n\x81\x85\0\0\0\0hello\x88\x80\0\0\0\0",
        f"GET /rpc/v1 HTTP/1.1\r\n{host}{socket}Sec-WebSocket-Protocol: {links.SUBPROTOCOL}\r\n\r\n\x82\x81\0\0\0\0x",
        f"GET /pipe/v1 HTTP/1.1\r\n{host}{pipe}\r\njob x http 1\n",
    ]
    return [text.encode("latin-1") for text in made]


async def told(address: tuple[str, int], data: bytes) -> bytes:
    """What comes until the other side ends the connection, or says nothing more; then we close it."""
    answer = b""
    reader, writer = await asyncio.open_connection(*address)
    try:
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(data)
            while part := await asyncio.wait_for(reader.read(65536), QUIET_SECONDS):
                answer += part
    finally:
        writer.close()
    return answer


async def side_by_side(count: int, one: Callable[[int], Awaitable[object]], *, at_once: int = 16) -> None:
    numbers: Iterator[int] = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    async with asyncio.timeout(100 * TIMES):
        await asyncio.gather(*(work() for _ in range(at_once)))


async def test_spoiled_bytes_at_all_acceptors(scene: Scene, figures: Figures) -> None:
    spoiler, sound = Spoiler(SEED), requests(scene)
    doors = [scene.router.address("control")] * 4 + [
        *(scene.router.address("server"), scene.victim.address("server"), scene.victim.address("control"))
    ]
    served = {200: 0, 400: 0}

    async def one(number: int) -> None:
        chosen = spoiler.chance.choices(sound, k=spoiler.chance.randint(1, 3))
        answer = await told(doors[number % len(doors)], b"".join(map(spoiler.octets, chosen)))
        assert not answer or answer.startswith(b"HTTP/1."), answer[:100]
        status = int(answer.split()[1]) if answer else 0
        assert b"urn:prouter:internal" not in answer, answer[:1000]
        served[status] = served.get(status, 0) + 1

    async with scene.watched(figures, "spoiled requests"):
        await side_by_side(REQUESTS, one)
    figures.record("R17", "spoiled requests", REQUESTS)
    assert served[200] > 0, served
    assert served[400] > 0, served
    assert (await scene.job.ask("/small")).body == b"small"


# --- pipes ---


async def test_spoiled_openings_and_bind_lines_at_an_agent(scene: Scene, figures: Figures) -> None:
    """Of a router that it knows: on pipes that open, the first line and what follows it."""
    spoiler, host_port = Spoiler(SEED), scene.victim.address("server")
    tickets: asyncio.Queue[str] = asyncio.Queue()
    hello = Peer("", "router", scene.victim.token, SEED)._introduction("known-router")
    lines = [b"agent %d\n", b"job " + scene.job.info["uid"].encode() + b" http %d\n"]
    follows = [*requests(scene), b""]
    opened = bound = 0

    async with (
        scene.watched(figures, "bind lines", known=True),
        aiohttp.ClientSession() as session,
        session.ws_connect(scene.victim.url("server") + links.PATH, protocols=(links.SUBPROTOCOL,)) as websocket,
    ):
        await websocket.send_bytes(hello)
        welcome = msgpack.unpackb(await websocket.receive_bytes(timeout=SECONDS), raw=False)
        number = welcome[2][2]["prouter"]["link"]

        async def take_tickets() -> None:
            async for message in websocket:
                fields = msgpack.unpackb(message.data, raw=False, strict_map_key=False)
                if fields[0] == 7 and fields[1] >= 100:
                    for ticket in msgpack.unpackb(fields[2], raw=False):
                        tickets.put_nowait(ticket)
                elif fields[0] == 2:
                    await websocket.send_bytes(msgpack.packb([7, fields[1], msgpack.packb(None), 0, None]))

        fetching = asyncio.create_task(take_tickets())

        async def one(pipe: int) -> None:
            nonlocal opened, bound
            if pipe % 16 == 0:  # as they are used, since they do not hold for long
                await websocket.send_bytes(msgpack.packb([2, 100 + pipe, 20, "pipe_tickets", [16], {}]))
            line = spoiler.chance.choice(lines) % number
            if spoiler.chance.random() < 0.7:
                line = spoiler.octets(line)
            opening = opening_request(*host_port, await asyncio.wait_for(tickets.get(), SECONDS))
            if spoiler.chance.random() < 0.2:
                opening = spoiler.octets(opening)
            answer = await told(host_port, opening + line + spoiler.octets(spoiler.chance.choice(follows)))
            opened += answer.startswith(b"HTTP/1.1 101")
            bound += b"\r\n\r\nok\n" in answer

        try:
            await side_by_side(PIPES, one)
        finally:
            fetching.cancel()
            await asyncio.wait([fetching])
    figures.record("R17", "spoiled bind lines", opened)
    assert opened > PIPES // 3
    assert bound > PIPES // 20
    assert (await scene.job.ask("/small")).body == b"small"


class SpoilsPipes(FakeAgent):
    """Opens the pipes that it is asked for, and answers on them what nobody should."""

    def __init__(self, router: RouterDaemon, seed: int) -> None:
        super().__init__(router)
        self._door = router.address("server")
        self._spoiler = Spoiler(seed)
        self._pipes: set[asyncio.Task[None]] = set()
        self.opened = 0

    async def pipe_dial(self, context: CallContext, tickets) -> None:
        for ticket in tickets:
            task = asyncio.create_task(self._pipe(str(ticket)))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _pipe(self, ticket: str) -> None:
        answers = (
            b"ok\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"ok\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: x\r\n\r\n",
            b"ok\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            b"ok\nHTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nbytes",
            b"no 404 nothing here\n",
        )
        reader, writer = await asyncio.open_connection(*self._door)
        try:
            writer.write(opening_request(*self._door, ticket))
            await reader.readuntil(b"\r\n\r\n")
            self.opened += 1
            early = self._spoiler.chance.random() < 0.05
            if not early:
                await reader.readuntil(b"\n")
            writer.write(self._spoiler.octets(self._spoiler.chance.choice(answers)))
            await asyncio.sleep(0.02)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def __aexit__(self, *of) -> None:
        await super().__aexit__(*of)
        for task in self._pipes:
            task.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)


async def test_spoiled_verdicts_and_answers_on_pipes_of_an_agent(scene: Scene, figures: Figures) -> None:
    async with SpoilsPipes(scene.router, SEED) as agent, scene.router.client() as client:
        made = await client.create({"type": "uid", "uid": agent.uid})
        await made.start(["program"], port={"mode": "assign"})
        assert agent.jobs[made.info["uid"]].state is JobState.RUNNING
        path = f"GET {made.path}/http/x HTTP/1.1\r\nHost: {{}}:{{}}\r\nConnection: close\r\n\r\n"
        request = path.format(*scene.router.address("control")).encode()
        statuses: dict[int, int] = {}

        async def one(_: int) -> None:
            async with scene.bystander.wired() as wire:
                await wire.send(request)
                answer, _ = await wire.rest()
            status = int(answer.split()[1]) if answer else 0
            statuses[status] = statuses.get(status, 0) + 1

        async with scene.watched(figures, "answers on pipes", known=True):
            await side_by_side(PIPES, one, at_once=8)
        assert agent.connected
    figures.record("R17", "spoiled answers on pipes", sum(statuses.values()))
    assert set(statuses) <= {0, 101, 200, 204, 404, 502, 503, 504} | set(range(100, 600)) - {500}, statuses
    assert statuses.get(200, 0) + statuses.get(204, 0) > 0, statuses
    assert statuses.get(502, 0) > 0, statuses
    await eventually(lambda: scene.router.log.count("Traceback") == 0)

"""R18: messages and chunks of any size pass; where the original protocol has a limit, it hits that one stream.

Sizes are two to the n and some bytes beside it, which is where buffers, length fields and limits have their edges.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from asked_streams import JOB
from figures import LONG
from imitations import Originals
from pressing_job import digest, part
from proxied import APPS, Proxied, joined
from websockets.asyncio.client import ClientConnection, connect

from prouter.core.agents.originals.pacing import MAX_MESSAGE_BYTES
from prouter.testing import Fleet, eventually

SECONDS = 20.0
BESIDE = (-8, -1, 0, 1, 8)
LARGEST = 27 if LONG else 22
SIZES = sorted({max(0, 2**n + beside) for n in range(LARGEST + 1) for beside in BESIDE})
ORIGINAL_SIZES = sorted({limit + beside for limit in (2**22, MAX_MESSAGE_BYTES) for beside in BESIDE})
"""Around what an original takes as one message, and around what we send it."""
TALKER = """
import base64, hashlib, os, socket, struct, threading, urllib.request

def frame(kind, data):
    size = bytes([len(data)]) if len(data) < 126 else struct.pack("!BQ", 127, len(data))
    return bytes([0x80 | kind]) + size + data

def talk(connection):
    head = connection.makefile("rb")
    lines = []
    while (line := head.readline()) != b"\\r\\n":
        lines.append(line)
    key = next(line.split(b":")[1].strip() for line in lines if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(b"HTTP/1.1 101 Hi\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
    while True:
        first, second = head.read(2)
        size = second & 127
        if size > 125:
            size, = struct.unpack("!H" if size == 126 else "!Q", head.read(2 if size == 126 else 8))
        mask = head.read(4)
        data = head.read(size)
        if first & 15 == 8:
            connection.sendall(frame(8, b""))
            return
        if first & 15 == 1:  # a text says how much is wanted
            text = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data)).decode()
            connection.sendall(frame(2, bytes(int(text))))
        else:
            connection.sendall(frame(1, b"%d" % size))

def guarded(connection):
    with connection:
        try:
            talk(connection)
        except (OSError, ValueError):
            pass

listener = socket.create_server(("127.0.0.1", 0))
urllib.request.urlopen("%s?job_id=%s&port=%d" % (
    os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"], listener.getsockname()[1])).read()
while True:
    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
"""
"""A websocket server that sends as much as a text asks for, and answers a binary message with its size."""
ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def dial(job: Proxied) -> connect:
    url = (job.router.url() + job.prefix + "/").replace("http://", "ws://", 1)
    return connect(url, max_size=None, compression=None, proxy=None)


async def echoed(socket: ClientConnection, message: bytes) -> bytes:
    """Sent while the echo is read: neither side waits for the other."""
    sending = asyncio.create_task(socket.send(message))
    answer = await socket.recv()
    await sending
    assert isinstance(answer, bytes)
    return answer


async def test_websocket_messages_of_any_size(fleet, figures) -> None:
    job = joined(fleet)(str(APPS / "sockets.py"))
    random = os.urandom(max(SIZES))
    async with dial(job) as socket:
        await socket.recv()
        for size in SIZES:
            assert await echoed(socket, random[:size]) == random[:size], size
    figures.record("R18", "sizes of Websocket messages that passed over pipes", len(SIZES), goal=len(SIZES), holds=True)


async def test_chunks_of_any_size_both_ways(fleet, figures) -> None:
    job = joined(fleet)(JOB)
    async with job.wired() as wire:
        for size in filter(None, SIZES):
            total = size + 3  # a whole chunk and a small one
            await wire.send(job.request(f"/big?bytes={total}&as=chunks&chunk={size}"))
            assert (await wire.head()).status == 200
            got = 0
            while length := int(await wire.reader.readuntil(b"\r\n"), 16):
                data = await wire.reader.readexactly(length + 2)
                assert data == part(got, length) + b"\r\n", size
                got += length
            assert (got, await wire.exactly(2)) == (total, b"\r\n")
        for size in filter(None, SIZES):
            await wire.send(job.request("/sink", "Transfer-Encoding: chunked", method="POST"))
            await wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, part(0, size)))
            assert (await wire.answer()).body.decode() == digest(size), size
    figures.record("R18", "sizes of chunks that passed, both ways", len(SIZES) - 1, goal=len(SIZES) - 1, holds=True)


# --- the original protocol ---


@pytest.fixture
def originals(tmp_path: Path):
    made = Originals(tmp_path)
    try:
        yield made
    finally:
        made.close()
    assert not made.complaints()


@asynccontextmanager
async def talking_job(base: str, uid: str) -> AsyncIterator[Callable[[], Any]]:
    """Opens websockets of a job; one of them was open all the time, and works to the end, as does the job."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:

        async def made() -> str | None:
            body = {"agent": {"type": "uid", "uid": uid}, "name": "job"}
            async with session.post(f"{base}/jobs/create", json=body) as answer:
                return str((await answer.json())["path"]) if answer.status == 200 else None

        url = base + await eventually(made, what="a job on an agent that is connected")
        async with session.post(f"{url}/file/server.py", data=TALKER.encode()) as answer:
            assert answer.status == 200
        async with session.post(f"{url}/start", json={"args": [sys.executable, "server.py"]}) as answer:
            assert answer.status == 200
        async with session.ws_connect(f"{url}/http/") as beside:
            yield lambda: session.ws_connect(f"{url}/http/", max_msg_size=0)
            await beside.send_bytes(b"12345")
            assert await beside.receive_str(timeout=SECONDS) == "5"
        async with session.get(f"{url}/info") as answer:
            assert (await answer.json())["state"] == "RUNNING"


def original_agent(fleet: Fleet, originals: Originals) -> tuple[str, str]:
    """The URL of a router of ours, and the uid of an original agent that dials it."""
    router = fleet.router()
    host, port = router.address("server")
    return router.url(), originals.agent(router=f"{host}:{port}", token=router.agent_token, uid="old").uid


def original_router(fleet: Fleet, originals: Originals) -> tuple[str, str]:
    """The URL of an original router, and the uid of an agent of ours that dials it."""
    router = originals.router(token="old")
    dialing = ("client.enabled=True", f"client.address={router.address('server')!r}")
    return router.url(), fleet.agent(None, *dialing, environ={"PAGENT_CLIENT__TOKEN": "old"}).uid


async def test_a_message_to_a_job_of_an_original_is_over_the_limit_alone(fleet, originals, figures) -> None:
    async with talking_job(*original_agent(fleet, originals)) as opened:
        for size in ORIGINAL_SIZES:
            async with opened() as websocket:
                with suppress(ConnectionError):  # it may be closed before all of it is sent
                    await websocket.send_bytes(bytes(size))
                answer = await websocket.receive(timeout=SECONDS)
                if size <= MAX_MESSAGE_BYTES:
                    assert answer.data == str(size)
                else:
                    assert (answer.type in ENDS, websocket.close_code) == (True, 1009), size
    count = len(ORIGINAL_SIZES)
    figures.record("R18", "sizes around an original's limit that hit one stream", count, goal=count, holds=True)


@pytest.mark.parametrize("pair", [original_agent, original_router])
async def test_a_message_of_a_job_comes_whole_over_the_old_protocol_or_ends_its_stream(fleet, originals, pair) -> None:
    came = set()
    async with talking_job(*pair(fleet, originals)) as opened:
        for size in (*ORIGINAL_SIZES, 2**23):
            async with opened() as websocket:
                await websocket.send_str(str(size))
                answer = await websocket.receive(timeout=SECONDS)
                if answer.type is aiohttp.WSMsgType.BINARY:
                    assert answer.data == bytes(size)
                    came.add(size)
                else:
                    assert answer.type in ENDS
    assert min(ORIGINAL_SIZES) in came
    assert max(came) < 2**23  # an original takes no more

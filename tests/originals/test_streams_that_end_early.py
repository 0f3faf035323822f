"""What the recordings do not show: links that end, calls that are cancelled, readers that are slow, large bodies."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

from bare_peer import BarePeer, greeted

from prouter.testing import AgentDaemon, Fleet, eventually

UNARY, ISTREAM, OSTREAM, BISTREAM = 20, 30, 40, 50
SERVER = """
import os, urllib.request
from aiohttp import web

async def echo(request):
    return web.Response(body=await request.read())

async def events(request):
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b"data: first\\n\\n")
    await request.app["more"].wait()
    await answer.write(b"data: second\\n\\n")
    return answer

async def more(request):
    request.app["more"].set()
    return web.Response()

async def moved(request):
    return web.Response(status=302, headers={"Location": "/elsewhere", "Set-Cookie": "a=1"})

async def large(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_bytes(bytes(5 * 1024 * 1024))
    await socket.receive()
    return socket

async def main():
    import asyncio
    app = web.Application(client_max_size=1 << 30)
    app["more"] = asyncio.Event()
    app.add_routes([web.post("/echo", echo), web.get("/events", events), web.get("/more", more),
                    web.get("/moved", moved), web.get("/large", large)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    url = "%s?job_id=%s&port=%d" % (os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"], port)
    await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
    await asyncio.sleep(3600)

import asyncio
asyncio.run(main())
"""


def linked(agent: AgentDaemon, uid: str = "bare") -> AbstractAsyncContextManager[BarePeer]:
    host, port = agent.address("server")
    return greeted(f"{host}:{port}", agent.token, uid=uid)


async def result(peer: BarePeer, call_id: int, method: str, *args: Any) -> Any:
    said = await peer.call(call_id, method, *args)
    assert (said[0], said[1], said[3]) == (7, call_id, 0), said
    return said[2]


async def made(peer: BarePeer, call_id: int) -> str:
    return str((await result(peer, call_id, "job_create", "job"))["uid"])


async def serving(peer: BarePeer) -> str:
    """A job that runs SERVER; uses the ids 1 and 2."""
    uid = await made(peer, 1)
    info = await result(peer, 2, "job_start", uid, [sys.executable, "-c", SERVER], {}, None, 1, False)
    assert info["state"] == "RUNNING"
    return uid


async def uploaded(peer: BarePeer, call_id: int, uid: str, name: str, *chunks: bytes) -> Any:
    await peer.say(2, call_id, OSTREAM, "file_upload", [uid, name], {"executable": False})
    for chunk in chunks:
        await peer.say(4, call_id, chunk)
    await peer.say(5, call_id)
    return await peer.hear()


async def read_stream(peer: BarePeer, call_id: int) -> tuple[list[Any], list[Any]]:
    """Values until the result, and the result's message."""
    values: list[Any] = []
    while (said := await peer.hear())[0] == 8:
        assert said[1] == call_id
        values.append(said[2])
    return values, said


async def test_jobs_end_with_the_link_that_made_them_and_no_others(fleet: Fleet) -> None:
    agent = fleet.agent()
    async with linked(agent, "other") as other:
        kept = await made(other, 1)
        async with linked(agent) as peer:
            gone = await made(peer, 1)
            await result(peer, 2, "job_start", gone, ["sleep", "600"], {}, None, 0, False)
            assert await result(peer, 3, "job_count_current_connection") == 1
            assert await result(other, 2, "job_count_current_connection") == 1
        ids = itertools.count(3)

        async def removed() -> bool:
            said = await other.call(next(ids), "job_info", gone)
            return said[4] is not None and said[4][1:3] == ["JobNotFoundError", f"job '{gone}' is not found"]

        await eventually(removed, what="the job's end")
        assert not (agent.jobs / gone).exists()
        assert (await result(other, next(ids), "job_info", kept))["state"] == "NEW"


async def test_jobs_of_an_original_do_not_come_back_after_a_kill_of_the_agent(fleet: Fleet) -> None:
    agent = fleet.agent()
    async with linked(agent) as peer:
        uid = await made(peer, 1)
        assert (agent.jobs / uid).exists()
        agent.kill()
    agent.start()
    assert not (agent.jobs / uid).exists()


async def test_arguments_come_by_name_too(fleet: Fleet) -> None:
    agent = fleet.agent()
    async with linked(agent) as peer:
        await peer.say(2, 1, UNARY, "job_create", [], {"name": "named"})
        uid = (await peer.hear())[2]["uid"]
        await peer.say(
            2, 2, UNARY, "job_start", [], {"job_uid": uid, "args": ["true"], "env": {}, "port_expected_count": 0}
        )
        assert (await peer.hear())[3] == 0
        await peer.say(2, 3, UNARY, "job_wait", [], {"job_uid": uid})
        assert (await peer.hear())[2]["state"] == "FINISHED"
        await peer.say(2, 4, UNARY, "job_info", [], {"uid": uid})
        assert (await peer.hear())[3] == 10


async def test_files_of_odd_names_and_sizes_and_a_download_that_is_cancelled(fleet: Fleet) -> None:
    agent = fleet.agent()
    data = random.Random(1).randbytes(10 * 1024 * 1024)
    name = "ü/%41 b/'\"\n#?.bin"
    async with linked(agent) as peer:
        uid = await made(peer, 1)
        cut = [data[start : start + 3_000_000] for start in range(0, len(data), 3_000_000)]
        assert (await uploaded(peer, 2, uid, name, *cut))[2] == len(data)
        assert (await uploaded(peer, 3, uid, "empty"))[2] == 0
        await peer.say(2, 4, ISTREAM, "file_download", [], {"job_uid": uid, "filename": name, "chunk_size": 1 << 30})
        (first, *chunks), end = await read_stream(peer, 4)
        assert first == {"size": len(data)}
        assert max(map(len, chunks)) == 1024 * 1024
        assert hashlib.sha256(b"".join(chunks)).digest() == hashlib.sha256(data).digest()
        assert end[2:4] == [len(data), 0]
        await peer.say(2, 5, ISTREAM, "file_download", [uid, name], {"remove": True})
        assert (await peer.hear())[2] == {"size": len(data)}
        await peer.say(3, 5)
        await peer.say(2, 6, UNARY, "job_info", [uid], {})
        while (said := await peer.hear())[1] == 5:
            assert said[0] == 8, "a cancelled call has no result"
        assert said[2]["uid"] == uid
        await peer.say(2, 7, ISTREAM, "file_download", [uid, name], {"chunk_size": 0})
        assert (await peer.hear())[4][1] == "ValueError"
        assert (agent.jobs / uid / "sandbox" / name).stat().st_size == len(data), "it was not sent whole"


async def test_an_upload_that_is_cancelled_leaves_nothing(fleet: Fleet) -> None:
    agent = fleet.agent()
    async with linked(agent) as peer:
        uid = await made(peer, 1)
        for call_id, method, args in ((2, "file_upload", [uid, "half"]), (3, "archive_upload", [uid])):
            await peer.say(2, call_id, OSTREAM, method, args, {})
            await peer.say(4, call_id, b"x" * 100)
            await peer.say(3, call_id)
        await result(peer, 4, "job_info", uid)
        sandbox = agent.jobs / uid / "sandbox"
        await eventually(lambda: list(sandbox.iterdir()) == [], what="an empty sandbox")


async def test_a_slow_router_is_not_sent_more_than_it_answers_for(fleet: Fleet) -> None:
    """Who reads nothing, and so answers no ping, gets a window of messages: an original queues 32 of a call."""
    agent = fleet.agent()
    async with linked(agent) as peer:
        uid = await made(peer, 1)
        await uploaded(peer, 2, uid, "zeros", bytes(1024 * 1024))
        peer._socket._autoping = False  # type: ignore[attr-defined]
        await peer.say(2, 3, ISTREAM, "file_download", [uid, "zeros"], {"chunk_size": 1024})
        came = 0
        async with asyncio.timeout(15):
            while (message := await peer._socket.receive()).type.name == "BINARY":
                came += 1
        assert message.type.name == "PING"
        assert came <= 16


async def test_bodies_are_streamed_and_nothing_is_followed_or_kept(fleet: Fleet) -> None:
    agent = fleet.agent()
    data = random.Random(2).randbytes(10 * 1024 * 1024)
    async with linked(agent) as peer:
        uid = await serving(peer)
        headers = [["Host", "h"], ["Transfer-Encoding", "chunked"], ["Expect", "100-continue"]]
        await peer.say(2, 3, BISTREAM, "http_request", [uid, "POST", "/echo", [], headers], {})
        for start in range(0, len(data), 1_000_000):
            await peer.say(4, 3, data[start : start + 1_000_000])
        await peer.say(4, 3, b"")
        (status, _, *body), end = await read_stream(peer, 3)
        assert (status, b"".join(body) == data, end[2:4]) == (200, True, [None, 0])
        for call_id in (4, 5):
            await peer.say(2, call_id, BISTREAM, "http_request", [uid, "GET", "/moved", [], []], {})
            await peer.say(4, call_id, b"")
            (status, told, *_), _ = await read_stream(peer, call_id)
            assert (status, ["Location", "/elsewhere"] in told, ["Set-Cookie", "a=1"] in told) == (302, True, True)
        await peer.say(2, 6, BISTREAM, "http_request", [uid, "GET", "/events", [], []], {})
        await peer.say(4, 6, b"")
        assert [(await peer.hear())[2] for _ in range(3)][2] == b"data: first\n\n"
        await peer.say(3, 6)
        await result(peer, 7, "job_info", uid)


async def test_a_message_of_a_job_that_no_original_takes_is_refused(fleet: Fleet) -> None:
    agent = fleet.agent()
    async with linked(agent) as peer:
        uid = await serving(peer)
        await peer.say(2, 3, BISTREAM, "ws_connect", [uid, "/large", [], []], {})
        assert await peer.hear() == [8, 3, True]
        assert await peer.hear() == [9, 3]
        end = await peer.hear()
        assert (end[0], end[3], end[4][1]) == (7, 10, "ValueError")
        assert (await result(peer, 4, "job_info", uid))["state"] == "RUNNING"

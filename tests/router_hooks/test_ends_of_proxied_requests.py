"""prouter_proxy_finished: each proxied request that was planned, with its sizes and times, whole or cut."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hearing import Heard
from proxied import Proxied, joined, new_job
from websockets.asyncio.client import connect

from prouter.testing import eventually

GONE = "the client closed the connection"


async def ended(heard: Heard, name: str) -> dict[str, Any]:
    told = await heard.one("finished", id=name)
    assert told["seconds"] >= (told["wait_seconds"] or 0) >= 0
    assert abs(told["began_at"] + told["seconds"] - time.time()) < 60
    return told


def shape(told: dict[str, Any]) -> tuple[Any, ...]:
    answered = told["wait_seconds"] is not None
    return told["method"], told["status"], told["request_bytes"], told["response_bytes"], answered, told["cut"]


async def test_whole_ones_with_the_bytes_of_their_bodies(heard: Heard, job: Proxied) -> None:
    job.says("empty", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    job.says("same", b"HTTP/1.1 304 Not Modified\r\nETag: W/1\r\n\r\n")
    job.says("pieces", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    answer = await job.ask("/x", "X-Request-Id: get")
    assert shape(await ended(heard, "get")) == ("GET", 200, 0, len(answer.body), True, "")
    answer = await job.ask("/x", "X-Request-Id: post", "Content-Length: 1000", method="POST", body=b"b" * 1000)
    assert shape(await ended(heard, "post")) == ("POST", 200, 1000, len(answer.body), True, "")
    await job.ask("/say/empty?then=keep", "X-Request-Id: head", method="HEAD")
    assert shape(await ended(heard, "head")) == ("HEAD", 200, 0, 0, True, "")
    await job.ask("/say/same?then=keep", "X-Request-Id: same")
    assert shape(await ended(heard, "same")) == ("GET", 304, 0, 0, True, "")
    await job.ask("/say/pieces?then=keep", "X-Request-Id: pieces")
    assert shape(await ended(heard, "pieces")) == ("GET", 200, 0, len(b"5\r\nhello\r\n0\r\n\r\n"), True, "")
    told = await ended(heard, "get")
    assert told["job"] == job.info["uid"]


async def test_requests_that_are_alike_are_told_of_one_by_one(heard: Heard, job: Proxied) -> None:
    for _ in range(2):
        async with job.wired() as wire:
            port = wire.writer.get_extra_info("sockname")[1]
            for number in range(4):
                await wire.send(job.request(f"/x?{number}"))
                answer = await wire.answer()
                told = await ended(heard, answer.get("x-request-id") or "")
                assert shape(told) == ("GET", 200, 0, len(answer.body), True, "")
                assert (told["rest"], told["port"]) == (f"/x?{number}", port)


async def test_a_stream_of_events_that_its_client_leaves(heard: Heard, job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(job.request("/events", "X-Request-Id: events"))
        await wire.head()
        await wire.exactly(len(b"data: one\n\n"))
        assert not heard.all("finished", id="events")
    assert shape(await ended(heard, "events")) == ("GET", 200, 0, len(b"data: one\n\n"), True, GONE)


async def test_one_without_an_answer_says_why_there_was_none(heard: Heard, job: Proxied) -> None:
    assert (await job.ask("/mute", "X-Request-Id: mute", "Content-Length: 0", method="POST")).status == 502
    told = await ended(heard, "mute")
    assert (told["status"], told["wait_seconds"]) == (502, None)
    assert told["cut"] == "the job's server closed the connection without an answer"


async def test_clients_that_leave_before_the_answer_and_amid_their_own_body(heard: Heard, job: Proxied) -> None:
    job.says("nothing", b"")
    async with job.wired() as wire:
        await wire.send(job.request("/say/nothing?then=hang", "X-Request-Id: early"))
        await eventually(lambda: any(b"then=hang" in heard for heard in job.heard))
    assert shape(await ended(heard, "early")) == ("GET", 0, 0, 0, False, GONE)
    async with job.wired() as wire:
        await wire.send(job.request("/sink?bytes=1000", "X-Request-Id: amid", "Content-Length: 1000", method="PUT"))
        await wire.send(b"ten bytes!")
        await eventually(lambda: any(b"PUT" in heard for heard in job.heard))
    assert shape(await ended(heard, "amid")) == ("PUT", 0, 10, 0, False, GONE)


async def test_an_upgrade_is_told_at_its_end_with_the_bytes_both_ways(heard: Heard, job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(job.request("/tunnel", "X-Request-Id: tunnel", "Connection: Upgrade", "Upgrade: torture"))
        await wire.head()
        await wire.send(b"four")
        assert await wire.exactly(7) == b"hi\0four"
        assert not heard.all("finished", id="tunnel")
        wire.writer.write_eof()
        assert await wire.exactly(3) == b"bye"
    assert shape(await ended(heard, "tunnel")) == ("GET", 101, 4, 10, True, "")


async def test_a_websocket_counts_both_ways(heard: Heard, sockets: Proxied) -> None:
    url = sockets.router.url().replace("http", "ws") + sockets.prefix + "/"
    named = {"X-Request-Id": "websocket"}
    async with connect(url, proxy=None, compression=None, additional_headers=named) as socket:
        hello = await socket.recv()
        await socket.send(b"x" * 50)
        assert await socket.recv() == b"x" * 50
    told = await ended(heard, "websocket")
    close, masked, head = 4, 4, 2
    assert told["request_bytes"] == (head + masked + 50) + (head + masked + close - 2)
    assert told["response_bytes"] == (head + len(hello)) + (head + 50) + close
    assert (told["status"], told["cut"]) == (101, "")


async def test_what_was_refused_before_it_was_planned_is_none(heard: Heard, job: Proxied) -> None:
    async with job.wired() as wire:
        nobody = job.request("/", "X-Request-Id: nobody").replace(job.info["uid"].encode(), b"0" * 32)
        await wire.send(nobody)
        assert (await wire.answer()).status == 404
    await job.ask("/x", "X-Request-Id: after")
    await ended(heard, "after")
    assert not heard.all("finished", id="nobody")


async def test_a_job_that_dies_an_agent_that_is_away_and_a_router_that_ends(fleet, tmp_path: Path) -> None:
    heard = Heard(tmp_path, "proxy_finished")
    make = joined(fleet, f"plugins.load=[{str(heard.plugin)!r}]", "shutdown.websocket_timeout=0")
    dying, living = make(), make()
    dying.says("half", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    async with dying.wired() as wire:
        await wire.send(dying.request("/say/half?then=kill", "X-Request-Id: dies"))
        await wire.head()
        with pytest.raises((ConnectionError, EOFError)):
            await wire.exactly(100)
    told = await ended(heard, "dies")
    assert shape(told)[:5] == ("GET", 200, 0, 4, True)
    assert "amid its answer" in told["cut"]

    other = fleet.agent(living.router)
    await living.router.agent_is_there(other)
    away = new_job(living.router, other, "", "torture.py")
    other.kill()
    await eventually(lambda: f"agent {other.uid}" in living.router.log and "is away" in living.router.log)
    assert (await away.ask("/x", "X-Request-Id: away")).status == 503
    told = await ended(heard, "away")
    assert (told["status"], told["wait_seconds"], "is away" in told["cut"]) == (503, None, True)

    async with living.wired() as wire:
        await wire.send(living.request("/tunnel", "X-Request-Id: ends", "Connection: Upgrade", "Upgrade: torture"))
        await wire.head()
        await wire.exactly(3)
        assert await asyncio.to_thread(living.router.stop) == 0
    told = await ended(heard, "ends")
    assert (told["status"], told["response_bytes"], "the router is ending" in told["cut"]) == (101, 3, True)

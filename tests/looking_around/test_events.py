"""GET /events: what happens, in order, resumable; what is missing is told."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.model.jobs import MAX_LABELS_BYTES
from prouter.plugins.events_api import GAP, PAGE_BYTES, EventRing
from prouter.testing.fleet import Fleet, serving_job

Event = dict[str, Any]
WEBSOCKET = """
import asyncio, os
from websockets.asyncio.server import serve
async def main():
    async with serve(lambda socket: socket.wait_closed(), "127.0.0.1", int(os.environ["PORT"])):
        await asyncio.Future()
asyncio.run(main())
"""


class Stream:
    """Parses Server-Sent Events (HTML, 9.2)."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> Event:
        fields: dict[str, str] = {}
        async with asyncio.timeout(30):
            while True:
                line = (await self._answer.content.readline()).decode()
                if not line:
                    raise EOFError
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n" and fields:
                    return {"id": fields.get("id"), "kind": fields["event"], **json.loads(fields["data"])}
                if name and value and not line.startswith(":"):
                    fields[name] = value

    async def until(self, wanted: str, state: str = "") -> Event:
        while True:
            event = await self.next()
            if event["kind"] == wanted and (not state or event["job"]["state"] == state):
                return event


@asynccontextmanager
async def following(client: Client, last_id: str | None = None) -> AsyncIterator[Stream]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with client.session.get(f"{client.url}/events", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        await answer.content.readline()
        await answer.content.readline()
        yield Stream(answer)


async def test_the_life_of_a_job_is_told_and_can_be_resumed(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        async with following(client) as stream:
            job = await client.create({"type": "uid", "uid": agent.uid}, "watched", labels={"a": "b"})
            made = await stream.until("job", "NEW")
            assert made["job"]["uid"] == job.info["uid"]
            assert made["job"]["labels"] == {"a": "b"}
            await job.start(["true"], port_expected_count=0)
            ended = await stream.until("job", "FINISHED")
            assert ended["job"]["reason"] == "exited"
        await job.remove()
        async with following(client, made["id"]) as stream:
            again = await stream.until("job", "FINISHED")
            assert again["id"] == ended["id"]
            assert (await stream.until("job", "CLOSED"))["removed"]


async def test_agents_that_come_and_go_are_told(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, following(client) as stream:
        agent.kill()
        gone = await stream.until("agent")
        assert (gone["agent"]["uid"], gone["connected"]) == (agent.uid, False)
        agent.start()
        assert (await stream.until("agent"))["connected"]


async def test_what_can_not_be_replayed_is_a_gap(fleet) -> None:
    router = fleet.router("events.kept=2")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        async with following(client, "another-boot-7") as stream:
            assert (await stream.next())["kind"] == "gap"
        async with following(client) as stream:
            await client.create({"type": "uid", "uid": agent.uid})
            first = await stream.until("job", "NEW")
        for _ in range(4):
            await client.create({"type": "uid", "uid": agent.uid})
        async with following(client, first["id"]) as stream:
            kinds = [(await stream.next())["kind"] for _ in range(3)]
    assert kinds == ["gap", "job", "job"]


async def test_followers_are_limited_and_end_with_the_router(fleet) -> None:
    router = fleet.router("events.max_followers=1")
    async with router.client() as client, following(client) as stream:
        async with client.session.get(f"{client.url}/events") as refused:
            assert refused.status == 429
            assert refused.headers["Retry-After"]
        waiting = asyncio.create_task(stream.next())
        begun = time.monotonic()
        status = await asyncio.to_thread(router.stop)
        assert status == 0
        assert time.monotonic() - begun < 5
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await waiting


async def test_a_slow_reader_skips_and_knows_it() -> None:
    ring = EventRing("boot", 3, 1 << 20)
    place = ring.place(None)
    for number in range(10):
        ring.append("job", {"number": number})
    data, place = ring.after(place)
    assert data.startswith(GAP)
    assert data.count(b"event: job") == 3
    assert ring.after(place) == (b"", 10)


def test_a_ring_is_bounded_in_bytes_and_read_in_pages() -> None:
    ring = EventRing("boot", 1000, 5 * PAGE_BYTES)
    for number in range(20):
        ring.append("job", {"number": number, "text": "x" * (PAGE_BYTES // 2)})
    data, place = ring.after(0)
    assert data.startswith(GAP)
    assert data.count(b"event: job") == 2
    kept = 2
    while place != ring.newest:
        data, place = ring.after(place)
        assert not data.startswith(GAP)
        kept += data.count(b"event: job")
    assert kept == 9
    ring.append("job", {"text": "x" * (6 * PAGE_BYTES)})
    assert ring.after(place)[1] == ring.newest, "the newest is told whatever its size"
    assert ring.after(0)[0].count(b"event: job") == 1


async def test_a_gap_comes_where_the_bytes_of_events_are_too_many(fleet: Fleet) -> None:
    router = fleet.router("events.kept_bytes=20000")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        async with following(client) as stream:
            await client.create({"type": "uid", "uid": agent.uid})
            first = await stream.until("job", "NEW")
        for _ in range(4):
            await client.create({"type": "uid", "uid": agent.uid}, labels={"text": "ü" * 4000})
        async with following(client, first["id"]) as stream:
            told = [await stream.next() for _ in range(3)]
        assert [event["kind"] for event in told] == ["gap", "job", "job"]
        assert told[1]["job"]["labels"]["text"] == "ü" * 4000


async def test_labels_are_bounded_together(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        locator = {"type": "uid", "uid": agent.uid}
        most = {"key": "ü" * ((MAX_LABELS_BYTES - 4) // 2), "k": ""}
        assert (await client.create(locator, labels=most)).info["labels"] == most
        with pytest.raises(RequestFailed, match="labels") as refused:
            await client.create(locator, labels=most | {"one": ""})
        assert refused.value.http_status == 400


async def test_where_to_go_on_can_be_in_the_query(fleet: Fleet) -> None:
    """For a page's EventSource, which can send no header at first."""
    router, agent = await fleet.pair()
    async with router.client() as client:
        async with following(client) as stream:
            jobs = [await client.create({"type": "uid", "uid": agent.uid}) for _ in range(2)]
            first, second = await stream.until("job", "NEW"), await stream.until("job", "NEW")
        async with client.session.get(f"{client.url}/events", params={"after": first["id"]}) as answer:
            again = await Stream(answer).next()
        assert again["id"] == second["id"]
        assert again["job"]["uid"] == jobs[1].info["uid"]


async def test_an_id_that_nobody_gave_out_is_a_gap(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        async with following(client) as stream:
            await client.create({"type": "uid", "uid": agent.uid})
            newest = (await stream.until("job", "NEW"))["id"]
        boot, _, number = newest.rpartition("-")
        for last in (f"{boot}-{'0' * 5000}", f"{boot}-{'9' * 5000}", f"{boot}-", boot, f"{boot}--1", f"{boot}-٣"):
            async with following(client, last) as stream:
                assert (await stream.next())["kind"] == "gap", last[:60]
    assert number not in ("", "0")
    assert "Traceback" not in router.log


async def test_what_breaks_behind_an_answer_is_an_event(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, following(client) as stream:
        job = await serving_job(client, agent, WEBSOCKET)
        async with client.session.post(
            f"{client.url}{job.path}/wsconnect/", json={"url": "ws://127.0.0.1:1/"}
        ) as answer:
            assert answer.status == 200
        failure = await stream.until("failure")
        assert job.info["uid"] in failure["about"]
        assert failure["detail"]


async def test_a_reader_that_does_not_read_misses_what_it_is_told_of(fleet: Fleet) -> None:
    router = fleet.router("events.kept=4")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        await asyncio.to_thread(slow.connect, router.address("control"))
        slow.sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        async with router.client() as client:
            labels = {"text": "x" * (MAX_LABELS_BYTES - 4)}

            async def one() -> None:
                job = await client.create({"type": "uid", "uid": agent.uid}, labels=labels)
                await job.remove()

            for _ in range(16):  # more than the kernel keeps for who does not read, 4 MiB
                await asyncio.gather(*(one() for _ in range(10)))
            last = await client.create({"type": "uid", "uid": agent.uid})
        end, data = f'"uid":"{last.info["uid"]}"'.encode(), b""
        while end not in data:
            data += await asyncio.to_thread(slow.recv, 1 << 16)
    expected = None
    for event in data.partition(b"\r\n\r\n")[2].split(b"\n\n"):
        found = re.match(rb"id: \w+-(\d+)\n", event)
        if event == GAP.strip():
            expected = None
        elif found is not None:
            assert expected in (None, int(found[1])), "events are missing, and no gap tells of it"
            expected = int(found[1]) + 1
    assert GAP in data

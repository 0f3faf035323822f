"""GET /events: what happens, in order, resumable; what is missing is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from prouter.client import Client
from prouter.plugins.events_api import GAP, EventRing

Event = dict[str, Any]


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
    ring = EventRing("boot", 3)
    place = ring.place(None)
    for number in range(10):
        ring.append("job", {"number": number})
    data, place = ring.after(place)
    assert data.startswith(GAP)
    assert data.count(b"event: job") == 3
    assert ring.after(place) == (b"", 10)

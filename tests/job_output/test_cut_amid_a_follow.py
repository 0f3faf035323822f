"""A follow goes on after a cut exactly where it was: the end is told once, another run's output is none of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from telling import Follower, allow, new_job, tell

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, BrokenNetwork, Fleet, RouterDaemon, eventually
from prouter.testing.network import Direction

EVENTS = {"Accept": "text/event-stream"}
GATED = "say('begun\\n'); await_file('go'); say('and ended', 2)"
TWO_RUNS = """
if os.path.exists("go"):
    say("another run, "), await_file("on"), say("its end")
else:
    say("begun, "), await_file("go"), say("ended")
"""


class HeldBehind(BrokenNetwork):
    """Of what goes there nothing more passes behind the first of these words, until it is cut."""

    words = b""

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
        if way is not self.there:
            await super()._pump(reader, writer, way)
            return
        while data := await reader.read(65536):
            at = data.find(self.words) if self.words else -1
            if at >= 0:
                end = at + len(self.words)
                writer.write(data[:end])
                self.words = b""
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@dataclass
class Place:
    """A job on an agent of two routers, followed over the one to which the line can be cut."""

    line: HeldBehind
    first: RouterDaemon
    agent: AgentDaemon
    client: Client
    direct: Client

    async def there(self, job: Job) -> Job:
        """The same job, asked of the other router."""
        same = Job(self.direct, job.info)
        await eventually(lambda: self.knows(same))
        return same

    async def knows(self, job: Job) -> bool:
        async with self.direct.session.get(f"{self.direct.url}{job.path}/info") as answer:
            return answer.status == 200

    @asynccontextmanager
    async def following(self, job: Job, **headers: str) -> AsyncIterator[Follower]:
        async with self.client.session.get(f"{self.client.url}{job.path}/output?follow=1", headers=headers) as answer:
            assert answer.status == 200
            assert not [name for name in answer.headers if name.lower().startswith("x-prouter")]
            yield Follower(answer)


@asynccontextmanager
async def two_routers(fleet: Fleet, *settings: str) -> AsyncIterator[Place]:
    first = fleet.router()
    second = fleet.router(environ={"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([first.agent_token])})
    async with HeldBehind(first.address("server")) as line, first.client() as client, second.client() as direct:
        addresses = [line.authority, "{}:{}".format(*second.address("server"))]
        agent = fleet.agent(first, f"client.addresses={addresses!r}", "client.reconnect_delay=0.1", *settings)
        for router in (first, second):
            await router.agent_is_there(agent)
        yield Place(line, first, agent, client, direct)


async def test_the_end_is_told_once_however_the_line_is_cut_behind_it(fleet: Fleet) -> None:
    async with two_routers(fleet) as place:
        for headers, end in ((EVENTS, b'"reason":"exited"}\n\n'), ({}, b"and ended")):
            await place.first.agent_is_there(place.agent)
            job = await tell(await new_job(place.client, place.agent), GATED)
            async with place.following(job, **headers) as follower:
                while b"begun" not in follower.read:
                    follower.read += await follower.answer.content.readany()
                place.line.words = end
                await allow(place.direct, await place.there(job), "go")
                await follower.until(end)
                place.line.cut()
                told = await follower.rest()
            assert told.count(b"and ended") == 1, told
            assert told.count(b"event: end") == (1 if headers else 0), told


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["bytes", "events"])
@pytest.mark.parametrize("agent_dies", [False, True])
async def test_a_run_that_began_meanwhile_is_none_of_a_follows_own(
    fleet: Fleet, headers: dict[str, str], *, agent_dies: bool
) -> None:
    async with two_routers(fleet, f"jobs.survive_agent={agent_dies}") as place:
        job = await tell(await new_job(place.client, place.agent), TWO_RUNS)
        same = await place.there(job)
        async with place.following(job, **headers) as follower, place.following(job, **headers) as left:
            for each in (follower, left):
                while b"begun, " not in each.read:
                    each.read += await each.answer.content.readany()
            place.line.refuse()
            await allow(place.direct, same, "go")
            assert (await same.wait(20)).info["state"] == "FINISHED"
            await same.restart()
            if agent_dies:
                place.agent.kill()
                place.agent.start()
                await eventually(lambda: place.knows(same))
            await eventually(lambda: _has_said(same, b"another run, "))
            place.line.take_again()
            told = await follower.rest()
            assert b"ended" in told
            assert b"another" not in told
            assert b"event: end" not in told, "how that run ended is told by nobody any more"
            assert await left.rest() == told
        await allow(place.direct, same, "on")
        assert b"its end" in b"".join([part async for part in same.output(follow=True)])


async def _has_said(job: Job, words: bytes) -> bool:
    return words in b"".join([part async for part in job.output()])

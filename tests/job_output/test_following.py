"""GET PATH/output?follow=1: live, from before the start to the very end, cut where it is no end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from telling import Follower, allow, events, new_job, output, tell, told

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import Fleet, eventually

GATED = "say('begun\\n'); await_file('go'); say('and ended', 2)"


@asynccontextmanager
async def following(client: Client, job: Job, **query: str) -> AsyncIterator[Follower]:
    async with client.session.get(f"{client.url}{job.path}/output", params={"follow": "1"} | query) as answer:
        assert answer.status == 200
        yield Follower(answer)


async def test_a_follow_begins_before_the_job_and_ends_with_it_complete(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await new_job(client, agent)
        async with following(client, job) as follower, following(client, job, stream="stderr") as errors:
            await tell(job, GATED)
            await follower.until(b"begun\n")
            await allow(client, job, "go")
            assert await follower.rest() == b"begun\nand ended"
            assert await errors.rest() == b"and ended"
        await job.wait(5)
        assert job.info["state"] == "FINISHED", "the answer's end is the job's"


async def test_many_short_jobs_are_each_followed_to_their_last_byte(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for number in range(10):
            job = await new_job(client, agent)
            async with following(client, job) as follower:
                await tell(job, f"os.write(1, b'{number}' * 50000); os.write(2, b'end')")
                assert len(await follower.rest()) == 50003


async def test_a_slow_follower_gets_the_run_that_it_followed_and_not_the_next(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    size = 20_000_000
    async with router.client() as client:
        job = await new_job(client, agent)
        async with following(client, job) as slow, following(client, job, stream="stderr") as errors:
            await tell(job, f"say('begun ', 2); os.write(1, b'o' * {size}); say('end', 2)")
            await slow.until(b"o")
            await job.wait(60)
            await job.restart()
            async with following(client, job) as next_run:
                await job.wait(60)
                first = await slow.rest()
                assert (first.count(b"o"), first[-3:]) == (size, b"end")
                assert await errors.rest() == b"begun end"
                both = await next_run.rest()
        assert both.count(b"o") == 2 * size, "who begins to follow later gets all from the beginning"


async def test_a_killed_job_is_followed_to_its_end(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), "say('last words'); time.sleep(600)")
        async with following(client, job) as follower:
            await follower.until(b"last words")
            os.kill(job.info["pid"], signal.SIGKILL)
            assert await follower.rest() == b"last words"
        [*_, end] = await events(client, job, follow="1")
        assert end.data == {"state": "FINISHED", "exit_code": -9, "reason": "signaled"}


async def test_an_agent_that_stays_away_cuts_what_follows(fleet: Fleet) -> None:
    router = fleet.router("jobs.orphan_timeout=0")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        async with following(client, job) as follower:
            await follower.until(b"begun\n")
            agent.kill()
            with pytest.raises(aiohttp.ClientPayloadError):
                await follower.rest()
        agent.start()


async def test_an_agent_that_dies_and_comes_back_tells_the_rest_of_what_was_followed(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        async with following(client, job) as follower:
            await follower.until(b"begun\n")
            agent.kill()
            agent.start()
            assert await follower.rest() == b"begun\n"
        await job.refresh()
        assert job.info["reason"] == "agent-lost"


async def test_a_removal_cuts_what_follows_and_ends_it_cleanly_for_a_job_that_never_ran(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        idle, job = await new_job(client, agent), await tell(await new_job(client, agent), GATED)
        async with following(client, job) as follower, following(client, idle) as waiting:
            await follower.until(b"begun\n")
            await job.remove()
            await idle.remove()
            try:
                assert await follower.rest() == b"begun\n", "it may have seen the end before the files were deleted"
            except aiohttp.ClientPayloadError:
                pass
            assert await waiting.rest() == b""


async def test_a_follow_that_had_not_come_to_the_end_of_a_removed_job_is_cut(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await new_job(client, agent)
        async with following(client, job) as follower:
            await tell(job, "say(b'x' * 128000000)")
            await job.wait(30)
            await job.remove()
            with pytest.raises(aiohttp.ClientPayloadError):
                await follower.rest()


async def test_a_router_that_ends_does_not_wait_for_followers(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        async with following(client, job) as follower:
            await follower.until(b"begun\n")
            begun = time.monotonic()
            assert router.stop() == 0
            assert time.monotonic() - begun < 10, "requests that were begun may take 30 s"
            with pytest.raises(aiohttp.ClientPayloadError):
                await follower.rest()


async def test_silence_ends_no_follow(fleet: Fleet) -> None:
    router = fleet.router("timeouts.relay_idle=0.2")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        async with following(client, job) as follower:
            await follower.until(b"begun\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await follower.rest()
            await allow(client, job, "go")
            assert await follower.rest() == b"begun\nand ended"


def probed_connections(pid: int, port: int) -> int:
    """A process's TCP connections at this local port on which the kernel probes the peer."""
    links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(row[1].partition(":")[2], 16) == port and row[5].startswith("02:") and f"socket:[{row[9]}]" in links
        for row in rows
    )


async def test_a_follow_notices_that_the_agents_machine_vanished(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        async with following(client, job) as follower:
            await follower.until(b"begun\n")
            await eventually(lambda: probed_connections(router.pid, router.address("server")[1]))


async def test_an_offset_that_is_not_there_yet_is_waited_for(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        async with following(client, job, offset="10") as follower:
            await allow(client, job, "go")
            assert await follower.rest() == b"and ended"[4:]


async def test_followers_of_a_job_are_limited_by_name_and_their_places_become_free(fleet: Fleet) -> None:
    router, agent = await fleet.pair("output.max_followers=2")
    async with router.client() as client:
        job = await tell(await new_job(client, agent), GATED)
        other = await told(client, agent, "say('other')")
        async with following(client, job) as first:
            async with following(client, job) as second:
                await second.until(b"begun\n")
                async with client.session.get(f"{client.url}{job.path}/output?follow=1") as third:
                    assert third.status == 429
                    assert int(third.headers["Retry-After"]) > 0
                    assert "output.max_followers" in (await third.json(content_type=None))["detail"]
                assert await output(job) == b"begun\n", "who does not follow needs no place"
                assert await output(other, follow=True) == b"other"

            async def there_is_a_place() -> bool:
                try:
                    async with asyncio.timeout(0.5):
                        await output(job, follow=True)
                except RequestFailed:
                    return False
                except TimeoutError:
                    pass
                return True

            await eventually(there_is_a_place)
            await allow(client, job, "go")
            assert await first.rest() == b"begun\nand ended"

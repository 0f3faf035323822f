"""R2, R7: an agent that stands still is not waited for: its host acknowledges all that is sent, and nobody reads it. A
router that stood still asks before it takes anybody for gone."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from asked_streams import JOB
from ended_calls import BIG, Calls
from figures import LONG, Figures
from proxied import new_job

from prouter.testing import Fleet, eventually

PING_SECONDS = 5.0 if LONG else 0.5
ANSWERED_SECONDS = 16.0 if LONG else 1.6
ROOM = 3


async def test_requests_on_kept_pipes_to_an_agent_that_stands_still_are_answered(
    fleet: Fleet, figures: Figures
) -> None:
    ping = f"links.ping_interval={PING_SECONDS}"
    router = fleet.router(ping, f"proxy.reconnect_wait={PING_SECONDS}")  # for who found no pipe
    agent = fleet.agent(router, ping)
    await router.agent_is_there(agent)
    job = new_job(router, agent, "", JOB)
    calls = Calls(job)
    calls.begin("a download", "GET", f"{job.prefix}/big?bytes={BIG}&as=chunks")
    await calls.answering("a download")
    calls.begin("a request that the job has", "GET", f"{job.prefix}/hang")
    assert (await job.ask("/")).status == 200  # its pipe is kept
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        calls.begin("get", "GET", f"{job.prefix}/")
        calls.begin("post", "POST", f"{job.prefix}/sink", body=b"x")
        ended = await calls.all_ended(begun, ROOM * ANSWERED_SECONDS, but="a download")
        assert sorted(ended) == ["a request that the job has", "get", "post"]
        assert all(found.status in (503, 504) for found in ended.values()), ended
        assert not calls.is_over("a download"), "what had begun was cut"
        came = calls.came["a download"]
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    await eventually(lambda: calls.came["a download"] > came, what="what had begun to go on")
    await calls.leave()
    slowest = max(found.seconds for found in ended.values())
    figures.record(
        "R7",
        "the longest call to an agent that stands still",
        slowest,
        goal=ANSWERED_SECONDS,
        unit="s",
        holds=slowest <= ANSWERED_SECONDS,
    )


async def test_a_router_that_stood_still_itself_asks_before_it_gives_a_link_up(fleet: Fleet) -> None:
    router = fleet.router("links.ping_interval=1")
    agent = fleet.agent(router, "links.ping_interval=10")
    await router.agent_is_there(agent)
    os.kill(router.pid, signal.SIGSTOP)
    await asyncio.sleep(2.8)  # longer than a link may be silent
    os.kill(router.pid, signal.SIGCONT)
    async with router.client() as client:
        assert (await client.agents())[0]["connected"]
    await asyncio.sleep(0.3)
    assert agent.log.count("linked to router") == 1
    assert "nothing came over a link" not in router.log

"""R6: of a tree of fifty processes that does all it can to stay nothing is left, whichever way its job ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from figures import LONG, Figures
from held_trees import marked

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

GOAL_SECONDS, ROOM = 2.0, 3
ROUNDS = 143 if LONG else 1
"""Of each end: a thousand trees."""
SIZE = 50
STORM_SECONDS = 0.3
"""For which each of its forks lives: a storm that goes on, and does not meet the limit of processes."""
TREE = f"""
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
for _ in range({SIZE - 2}): daemon()
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if os.fork() == 0:
            time.sleep({STORM_SECONDS})
            os._exit(0)
        time.sleep(0.01)
open("ready", "w").close()
while True: time.sleep(600)
"""
End = Callable[[Client, AgentDaemon, Job], Awaitable[None]]


async def removed(client: Client, agent: AgentDaemon, job: Job) -> None:
    await job.remove()


async def stopped(client: Client, agent: AgentDaemon, job: Job) -> None:
    await job.stop(grace_seconds=0)


async def main_killed(client: Client, agent: AgentDaemon, job: Job) -> None:
    os.kill(job.info["pid"], signal.SIGKILL)


async def agent_killed(client: Client, agent: AgentDaemon, job: Job) -> None:
    agent.kill()


async def agent_terminated(client: Client, agent: AgentDaemon, job: Job) -> None:
    agent.signal(signal.SIGTERM)


async def agent_interrupted(client: Client, agent: AgentDaemon, job: Job) -> None:
    agent.signal(signal.SIGINT)


async def timed_out(client: Client, agent: AgentDaemon, job: Job) -> None:
    """Its timeout is over by the time that its tree is there, and some more."""


ENDS: list[End] = [removed, stopped, main_killed, timed_out, agent_killed, agent_terminated, agent_interrupted]
ENDS_AGENT = (agent_killed, agent_terminated, agent_interrupted)
TIMEOUT_SECONDS = 3.0


@pytest.mark.timeout(120 if not LONG else 3600)
async def test_no_end_of_a_job_leaves_a_process(fleet: Fleet, figures: Figures) -> None:
    router = fleet.router()
    agent = fleet.agent(router, "client.reconnect_delay=0.2")
    took: dict[str, list[float]] = {end.__name__: [] for end in ENDS}
    left: list[str] = []
    async with router.client() as client:
        for end in ENDS * ROUNDS:
            await router.agent_is_there(agent)
            job = await client.create({"type": "uid", "uid": agent.uid}, end.__name__)
            seconds, stayed = await seconds_to_end(client, agent, job, end)
            took[end.__name__].append(seconds)
            left += [f"{end.__name__}: {pid}" for pid in stayed]
            if end in ENDS_AGENT:
                if end is not agent_killed:
                    agent.ended()
                agent.start()
                await router.agent_is_there(agent)
            if end is not removed:
                await job.remove()
    for name, seconds in took.items():
        figures.record(
            "R6", f"a tree of {SIZE} is gone, {name}", max(seconds), goal=GOAL_SECONDS, unit="s", spread=seconds
        )
    ended, least = sum(map(len, took.values())), len(ENDS) * ROUNDS
    figures.record("R6", "trees that were ended", ended, goal=f">= {least}", holds=ended >= least)
    figures.record("R6", "processes that were left", len(left), goal=0)
    assert not left


async def seconds_to_end(client: Client, agent: AgentDaemon, job: Job, end: End) -> tuple[float, list[int]]:
    """And what is there still, long after it should have gone."""
    mark = secrets.token_hex(8)
    timeout = {"timeout": TIMEOUT_SECONDS} if end is timed_out else {}
    began = time.monotonic()
    await job.start([sys.executable, "-S", "-c", TREE, mark], port_expected_count=0, **timeout)
    if end is timed_out:
        await job.wait(30)
        took = max(0.0, time.monotonic() - began - TIMEOUT_SECONDS)
    else:
        await eventually(Path(agent.sandbox(job) / "ready").exists, what="the tree")
        assert len(marked(mark)) >= SIZE
        began = time.monotonic()
        await end(client, agent, job)
        took = 0.0
    with contextlib.suppress(AssertionError):
        await eventually(lambda: not marked(mark), seconds=GOAL_SECONDS * ROOM, what="the end of the tree")
    return took or time.monotonic() - began, marked(mark)

"""R6: of a tree of fifty processes that does all it can to stay nothing is left, whichever way its job ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest
from figures import LONG, Figures
from held_trees import marked_with

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

GOAL_SECONDS, ROOM = 2.0, 3
AT_ONCE = 4 if LONG else 8
"""Jobs of one agent whose trees are ended together."""
ROUNDS = 36 if LONG else 1
"""Of each end: a thousand trees."""
TREES = 1000 if LONG else 50
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
    """By itself."""


ENDS: list[End] = [removed, stopped, main_killed, timed_out, agent_killed, agent_terminated, agent_interrupted]
ENDS_AGENT = (agent_killed, agent_terminated, agent_interrupted)
TIMEOUT_SECONDS = 5.0
"""Long enough for all trees to be there on a busy machine."""


@pytest.mark.timeout(180 if not LONG else 3600)
async def test_no_end_of_a_job_leaves_a_process(fleet: Fleet, figures: Figures) -> None:
    router = fleet.router()
    agent = fleet.agent(router, "client.reconnect_delay=0.2")
    took: dict[str, list[float]] = {end.__name__: [] for end in ENDS}
    left: list[str] = []
    async with router.client() as client:
        for end in ENDS * ROUNDS:
            await router.agent_is_there(agent)
            trees = await asyncio.gather(*(begun(client, agent, end) for _ in range(AT_ONCE)))
            seconds, stayed = await seconds_to_end(client, agent, trees, end)
            took[end.__name__] += seconds
            left += [f"{end.__name__}: {pid}" for pid in stayed]
            if end in ENDS_AGENT:
                if end is not agent_killed:
                    agent.ended()
                agent.start()
                await router.agent_is_there(agent)
            if end is not removed:
                await asyncio.gather(*(tree.job.remove() for tree in trees))
    for name, seconds in took.items():
        figures.record(
            "R6", f"a tree of {SIZE} is gone, {name}", max(seconds), goal=GOAL_SECONDS, unit="s", spread=seconds
        )
    ended = sum(map(len, took.values()))
    figures.record("R6", "trees that were ended", ended, goal=f">= {TREES}", holds=ended >= TREES)
    figures.record("R6", "processes that were left", len(left), goal=0)
    assert not left


@dataclass(slots=True)
class Tree:
    """A job whose processes have the mark among their arguments."""

    job: Job
    mark: str
    began: float
    """When its start was asked for."""


async def begun(client: Client, agent: AgentDaemon, end: End) -> Tree:
    """Once all of it is there; its timeout runs meanwhile."""
    job = await client.create({"type": "uid", "uid": agent.uid}, end.__name__)
    tree = Tree(job, secrets.token_hex(8), time.monotonic())
    timeout = {"timeout": TIMEOUT_SECONDS} if end is timed_out else {}
    await job.start([sys.executable, "-S", "-c", TREE, tree.mark], port_expected_count=0, **timeout)
    await eventually((agent.sandbox(job) / "ready").exists, what="the tree")
    return tree


async def seconds_to_end(
    client: Client, agent: AgentDaemon, trees: Sequence[Tree], end: End
) -> tuple[list[float], list[int]]:
    """Of each tree, and what is there still, long after all should have gone."""
    if end is timed_out:
        due = {tree.mark: tree.began + TIMEOUT_SECONDS for tree in trees}
    else:
        assert all(len(there) >= SIZE for there in processes_of(trees).values())
        due = dict.fromkeys((tree.mark for tree in trees), time.monotonic())
    gone: dict[str, float] = {}

    def all_gone() -> bool:
        for mark, there in processes_of(trees).items():
            if not there and mark not in gone:
                gone[mark] = time.monotonic()
        return len(gone) == len(trees)

    ending = asyncio.ensure_future(ended(client, agent, [tree.job for tree in trees], end))
    with contextlib.suppress(AssertionError):
        await eventually(all_gone, seconds=max(due.values()) - time.monotonic() + GOAL_SECONDS * ROOM)
    await ending
    now = time.monotonic()
    stayed = [pid for there in processes_of(trees).values() for pid in there]
    return [max(0.0, gone.get(mark, now) - begins) for mark, begins in due.items()], stayed


async def ended(client: Client, agent: AgentDaemon, jobs: Sequence[Job], end: End) -> None:
    """All at once; an agent ends but once."""
    await asyncio.gather(*(end(client, agent, job) for job in (jobs[:1] if end in ENDS_AGENT else jobs)))


def processes_of(trees: Sequence[Tree]) -> dict[str, list[int]]:
    """By their marks; in one look at all that runs."""
    found: dict[str, list[int]] = {tree.mark: [] for tree in trees}
    for pid, mark in marked_with(found):
        found[mark].append(pid)
    return found

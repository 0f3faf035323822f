"""Pools of pipes grow and shrink with use, within a limit for each agent and one for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from proxied import Proxied, call, joined, new_job
from wire import Wire

from prouter.testing import Fleet, eventually

HELD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"


def pipes(job: Proxied) -> dict[str, Any]:
    """The agent's, as /connections shows them."""
    found = call(job.router, "GET", "/connections")["connections"]
    return next(link["pipes"] for link in found if link["peer"]["auth"]["uid"] == job.agent.uid)


@contextlib.asynccontextmanager
async def holding(job: Proxied, count: int) -> AsyncIterator[list[Wire]]:
    """So many requests of which each has a pipe, until the context ends, which resets them."""
    job.says("held", HELD)
    async with contextlib.AsyncExitStack() as open_:
        wires = [await open_.enter_async_context(job.wired()) for _ in range(count)]
        for wire in wires:
            await wire.send(job.request("/say/held?then=hang"))
        for wire in wires:
            assert (await wire.head()).status == 200
        yield wires


async def at_once(job: Proxied, count: int) -> None:
    """So many requests of which none ends before all have a pipe: they wait for their body, then it is sent."""
    async with contextlib.AsyncExitStack() as open_:
        wires = [await open_.enter_async_context(job.wired()) for _ in range(count)]
        for wire in wires:
            await wire.send(job.request("/x", "Content-Length: 4", method="POST") + b"bo")
        await eventually(lambda: pipes(job)["busy"] == count)
        for wire in wires:
            await wire.send(b"dy")
        for wire in wires:
            assert (await wire.answer()).status == 200


async def test_as_many_are_kept_as_were_in_use_at_once_and_none_is_dialed_again(fleet: Fleet) -> None:
    job = joined(fleet)()
    for _ in range(3):
        await at_once(job, 100)
        assert (pipes(job)["busy"], pipes(job)["idle"]) == (0, 100)
    assert sum(bool(heard) for heard in job.heard) == 100


async def test_idle_and_unbound_pipes_close_that_nobody_used_and_one_in_use_stays(fleet: Fleet) -> None:
    job = joined(fleet, "pipes.idle_seconds=1", "pipes.warm=2", "pipes.warm_most=6")()
    assert pipes(job)["open"] == 0, "an agent that nobody used has none"
    await at_once(job, 1)
    await eventually(lambda: pipes(job)["warm"] == 2)
    await at_once(job, 30)
    await eventually(lambda: pipes(job)["warm"] == 6)
    assert pipes(job)["idle"] == 30
    deadline = time.monotonic() + 20
    while (found := pipes(job))["idle"] > 1 or found["warm"] > 2:
        assert (await job.ask("/x")).status == 200
        assert time.monotonic() < deadline, found
    assert (await job.ask("/x")).status == 200
    assert (pipes(job)["idle"], pipes(job)["warm"], pipes(job)["open"]) == (1, 2, 3)
    assert sum(b"GET /x " in heard for heard in job.heard) == 1, "it was the same all the time"


async def test_metrics_tell_pipes_by_what_they_do(fleet: Fleet) -> None:
    job = joined(fleet)()
    async with holding(job, 3):
        assert (await job.ask("/x")).status == 200
        await eventually(lambda: pipes(job)["warm"] >= 2)
        with urllib.request.urlopen(job.router.url() + "/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
    assert 'prouter_pipes_by_use{use="busy"} 3.0' in lines
    assert 'prouter_pipes_by_use{use="idle"} 1.0' in lines
    assert "prouter_pipes_waiting 0.0" in lines


async def test_the_limit_of_an_agent_is_told_and_is_over_when_one_is_free(fleet: Fleet) -> None:
    job = joined(fleet, "pipes.per_agent=4", "pipes.warm=8")()
    async with holding(job, 4) as wires:
        answer = await job.ask("/x")
        assert (answer.status, answer.get("retry-after")) == (503, "1")
        assert b"4 open pipes, and the limit is 4 (pipes.per_agent)" in answer.body
        wires[0].reset()
        await eventually(lambda: pipes(job)["busy"] == 3)
        assert (await job.ask("/x")).status == 200
        assert pipes(job)["open"] <= 4


@pytest.mark.parametrize("unused", ["idle", "warm"])
async def test_the_limit_of_all_agents_is_told_and_what_nobody_uses_makes_room(fleet: Fleet, unused: str) -> None:
    warm = 2 if unused == "warm" else 0
    one = joined(fleet, "pipes.total=4", f"pipes.warm={warm}", "pipes.warm_most=2")()
    agent = fleet.agent(one.router)
    await one.router.agent_is_there(agent)
    other = new_job(one.router, agent, "", "torture.py")
    assert (await one.ask("/x")).status == 200
    async with holding(other, 4):
        assert pipes(one)["open"] == 0, "what one agent does not use is another's"
        assert pipes(other)["open"] == 4
        for job in (one, other):
            answer = await job.ask("/x")
            assert (answer.status, answer.get("retry-after")) == (503, "1")
            assert b"4 open pipes to all agents, and the limit is 4 (pipes.total)" in answer.body
    await eventually(lambda: pipes(other)["busy"] == 0)
    assert (await one.ask("/x")).status == 200


async def test_waiting_requests_share_the_limit_and_none_is_left_behind(fleet: Fleet) -> None:
    job = joined(fleet, "pipes.per_agent=5", "pipes.warm=1")()
    answers = await asyncio.gather(*(job.ask("/fickle?ms=1") for _ in range(40)))
    statuses = {answer.status for answer in answers}
    assert statuses <= {200, 503}
    assert pipes(job)["waiting"] == 0
    await eventually(lambda: pipes(job)["busy"] == 0)
    assert (await job.ask("/x")).status == 200

"""However many requests come at once, an agent is asked for so many pipes only as it can open while they wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from test_pool_counts import FakeTransport, play_to_the_end

from prouter.errors import LinkClosed, ProuterError
from prouter.pipe import asking
from prouter.pipe.asking import AT_ONCE, UNDER_WAY, Place
from prouter.pipe.pool import PipePool, PoolLimits
from prouter.pipe.total import PipeTotal
from prouter.pluginkit.tasks import TaskOwner

LIMITS = PoolLimits(warm=0, warm_most=0, per_agent=4000, total=4000, idle_seconds=10, wait_seconds=20)
MANY = 3000
LINE = b"job 1 http 1\n"


class Agent:
    """A PipeSource that opens as many as it is let; `broken` opens none."""

    def __init__(self) -> None:
        self.tasks = TaskOwner("test")
        self.total = PipeTotal(LIMITS.total)
        self.pool = PipePool(self, self.tasks, LIMITS, "agent", self.total)
        self.under_way = self.most = self.calls = 0
        self.let = asyncio.Event()
        self.broken = False
        self.hang = 0
        """The first so many calls never open their last pipe."""

    async def __call__(self, count: int, place: Place) -> None:
        self.calls += 1
        last = count - 1 if self.calls <= self.hang else -1
        self.under_way += count
        self.most = max(self.most, self.under_way)
        try:
            await self.let.wait()
            if self.broken:
                raise LinkClosed("it has no descriptors")
            for number in range(count):
                if number == last:
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
                self.under_way -= 1
                place(FakeTransport(set()), b"")
                count -= 1
        finally:
            self.under_way -= count

    async def wanted(self, many: int) -> list[asyncio.Task[object]]:
        """So many come, some in each turn of the loop."""
        takers: list[asyncio.Task[object]] = []
        for _ in range(many // 10):
            takers += [asyncio.create_task(self.pool.take(LINE, max_idle_seconds=-1.0)) for _ in range(10)]
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        return takers


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    made = Agent()
    yield made
    made.pool.abort()
    for _ in range(5):
        await asyncio.sleep(0)
    await made.tasks.close(1.0)
    assert (made.pool.size, made.total.used) == (0, 0)


async def test_many_who_come_at_once_are_asked_for_bit_by_bit_and_all_are_served(agent: Agent) -> None:
    takers = await agent.wanted(MANY)
    assert UNDER_WAY - AT_ONCE < agent.under_way <= UNDER_WAY
    assert agent.pool.counts()["waiting"] == MANY
    agent.let.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*takers)
    assert agent.most <= UNDER_WAY
    assert agent.pool.size == MANY
    assert agent.calls < MANY / 10


async def test_some_that_never_open_hold_up_nobody_else(agent: Agent) -> None:
    agent.hang = UNDER_WAY // AT_ONCE
    takers = await agent.wanted(MANY)
    agent.let.set()
    async with asyncio.timeout(20):
        while sum(taker.done() for taker in takers) < MANY - agent.hang:
            await asyncio.sleep(0.01)
    for taker in takers:
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)


async def test_what_nobody_waits_for_any_more_is_not_asked_for(agent: Agent) -> None:
    takers = await agent.wanted(MANY)
    calls = agent.calls
    assert agent.total.used == MANY
    for taker in takers[10:]:  # clients go, while nothing opens
        taker.cancel()
    await asyncio.gather(*takers[10:], return_exceptions=True)
    assert agent.total.used == UNDER_WAY, "others may have pipes in place of those that were only wanted"
    agent.let.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*takers[:10])
        while agent.under_way:
            await asyncio.sleep(0)
    assert agent.calls == calls
    assert agent.total.used == agent.pool.size == 10


async def test_where_none_opens_each_is_told(agent: Agent) -> None:
    agent.broken = True
    agent.let.set()
    takers = await agent.wanted(MANY)
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*takers, return_exceptions=True)
    assert all(isinstance(outcome, ProuterError) and "no descriptors" in outcome.detail for outcome in outcomes)
    assert agent.calls <= MANY


async def test_who_waits_while_a_link_ends_is_told_and_nothing_is_counted_any_more(agent: Agent) -> None:
    takers = await agent.wanted(MANY)
    agent.pool.close()
    outcomes = await asyncio.gather(*takers, return_exceptions=True)
    assert all(isinstance(outcome, ProuterError) for outcome in outcomes)


@pytest.mark.parametrize("seed", range(20))
async def test_counts_are_right_where_most_have_to_wait(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(asking, "UNDER_WAY", 3)
    monkeypatch.setattr(asking, "AT_ONCE", 2)
    await play_to_the_end(seed)

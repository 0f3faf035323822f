"""Whatever happens in pools, in any order, their counts are right: within the limits always, and nothing at the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import Any

import pytest

from prouter.errors import LinkClosed, ProuterError
from prouter.pipe.asking import AT_ONCE, Place
from prouter.pipe.pool import PipePool, PoolLimits
from prouter.pipe.total import PipeTotal
from prouter.pipe.upstream import UpstreamPipe
from prouter.pluginkit.tasks import TaskOwner

LIMITS = PoolLimits(warm=1, warm_most=4, per_agent=6, total=9, idle_seconds=0.02, wait_seconds=0.05)
LINES = [b"job 1 http 1\n", b"job 2 http 1\n"]
STEPS = 150


class FakeTransport(asyncio.Transport):
    """Opens, closes, and tells its protocol so."""

    def __init__(self, there: set[FakeTransport]) -> None:
        super().__init__()
        self._there = there
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._closing = False
        there.add(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: Any) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._there.discard(self)
            asyncio.get_running_loop().call_soon(lambda: self._protocol.connection_lost(None))

    abort = close


class Ways:
    """A PipeSource that gives all, fewer, none, late, or fails, by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.there: set[FakeTransport] = set()
        self.chance = chance

    async def __call__(self, count: int, place: Place) -> None:
        for _ in range(self.chance.randint(0, count + 1)):
            await asyncio.sleep(self.chance.choice((0, 0, 0.001)))
            place(FakeTransport(self.there), self.chance.choice((b"", b"", b"", b"no 503 full\n")))
        if self.chance.random() < 0.2:
            raise LinkClosed("by chance")


class Play:
    """Two pools of one router, and what is done with their pipes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.tasks = TaskOwner("test")
        self.total = PipeTotal(LIMITS.total)
        self.ways = [Ways(self.chance) for _ in range(2)]
        self.pools = [PipePool(ways, self.tasks, LIMITS, "agent", self.total) for ways in self.ways]
        self.busy: list[tuple[PipePool, UpstreamPipe]] = []
        self.taking: set[asyncio.Task[None]] = set()

    def step(self) -> None:
        pool = self.chance.choice(self.pools)
        match self.chance.choice(("take", "take", "take", "return", "return", "lose", "lose any", "cancel", "stream")):
            case "take":
                self._begin(self._take(pool, self.chance.choice(LINES)))
            case "stream":
                self._begin(self._stream(pool))
            case "return" if self.busy:
                home, pipe = self.busy.pop(self.chance.randrange(len(self.busy)))
                home.returned(pipe)
            case "lose" if self.busy:
                _, pipe = self.busy.pop(self.chance.randrange(len(self.busy)))
                pipe.close()
            case "lose any":
                there = sorted(self.chance.choice(self.ways).there, key=id)
                if there:
                    self.chance.choice(there).close()
            case "cancel" if self.taking:
                next(iter(self.taking)).cancel()

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.taking.add(task)
        task.add_done_callback(self.taking.discard)

    async def _take(self, pool: PipePool, line: bytes) -> None:
        with contextlib.suppress(ProuterError):
            self.busy.append((pool, await pool.take(line, max_idle_seconds=1.0)))

    async def _stream(self, pool: PipePool) -> None:
        with contextlib.suppress(ProuterError, TimeoutError):
            async with pool.stream(LINES[0]):
                raise AssertionError("nobody says ok here")

    def check(self) -> None:
        assert 0 <= self.total.used <= LIMITS.total
        for pool in self.pools:
            counts = pool.counts()
            assert 0 <= counts["open"] <= LIMITS.per_agent
            assert all(counts[kind] >= 0 for kind in ("busy", "idle", "warm", "waiting"))
            assert counts["warm"] <= LIMITS.warm_most

    async def end(self) -> None:
        for task in list(self.taking):
            task.cancel()
        await asyncio.gather(*self.taking, return_exceptions=True)
        for pool in self.pools:
            pool.abort()
        for _, pipe in self.busy:
            pipe.close()
        for _ in range(3):  # calls for more that have just begun see that their link is gone
            await asyncio.sleep(0)
        await self.tasks.close(1.0)


@pytest.mark.parametrize("seed", range(40))
async def test_counts_are_right_whatever_happens(seed: int) -> None:
    await play_to_the_end(seed)


async def play_to_the_end(seed: int) -> None:
    play = Play(seed)
    for _ in range(STEPS):
        play.step()
        play.check()
        await asyncio.sleep(play.chance.choice((0, 0, 0, 0.0005)))
        play.check()
    await play.end()
    assert [pool.size for pool in play.pools] == [0, 0]
    assert play.total.used == 0
    assert not any(ways.there for ways in play.ways), "all are closed"


async def test_pools_at_rest_hold_what_is_warm_and_nothing_else() -> None:
    play = Play(1)

    async def all_of_them(count: int, place: Place) -> None:
        for _ in range(count):
            place(FakeTransport(play.ways[0].there), b"")

    pool = PipePool(all_of_them, play.tasks, LIMITS, "agent", play.total)
    taken = [await pool.take(LINES[0], max_idle_seconds=1.0) for _ in range(5)]
    for pipe in taken:
        pool.returned(pipe)
    async with asyncio.timeout(10):
        while pool.size > LIMITS.warm:
            await asyncio.sleep(0.01)
    assert (pool.size, play.total.used) == (LIMITS.warm, LIMITS.warm)
    pool.close()
    await play.end()


async def test_who_waits_for_a_new_pipe_has_one_that_comes_back_first_and_the_new_one_is_kept_for_its_target() -> None:
    play, asked, hold = Play(1), 0, asyncio.Event()

    async def some_later(count: int, place: Place) -> None:
        nonlocal asked
        asked += count
        if asked > 2:
            await hold.wait()
        for _ in range(count):
            place(FakeTransport(play.ways[0].there), b"")

    limits = replace(LIMITS, warm=0, warm_most=0, wait_seconds=10, idle_seconds=10)
    pool = PipePool(some_later, play.tasks, limits, "agent", play.total)
    first = await pool.take(LINES[0], max_idle_seconds=1.0)
    other = await pool.take(LINES[1], max_idle_seconds=1.0)
    waiting = [asyncio.create_task(pool.take(LINES[0], max_idle_seconds=1.0)) for _ in range(2)]
    await asyncio.sleep(0)
    pool.returned(other)
    pool.returned(first)
    assert await waiting[0] is first
    assert not waiting[1].done()
    pool.returned(first)
    assert await waiting[1] is first
    hold.set()
    async with asyncio.timeout(10):
        while len(pool.shelf(LINES[0])) < 2:
            await asyncio.sleep(0)
    assert pool.counts() == {"open": 4, "busy": 1, "idle": 3, "warm": 0, "waiting": 0, "over": "tcp"}
    fresh = await pool.take(LINES[0], max_idle_seconds=1.0)
    assert (fresh.uses, asked) == (0, 4)
    pool.close()
    await play.end()


async def test_a_pipe_that_closes_in_the_moment_in_which_it_is_given_is_nobodys() -> None:
    play = Play(1)
    limits = replace(LIMITS, warm=0, warm_most=0, wait_seconds=10, idle_seconds=10)

    async def one(count: int, place: Place) -> None:
        if not play.ways[0].there:
            place(FakeTransport(play.ways[0].there), b"")
        else:
            await asyncio.sleep(0.05)
            place(FakeTransport(play.ways[0].there), b"")

    pool = PipePool(one, play.tasks, limits, "agent", play.total)
    first = await pool.take(LINES[0], max_idle_seconds=1.0)
    waiting = asyncio.create_task(pool.take(LINES[0], max_idle_seconds=1.0))
    await asyncio.sleep(0)
    pool.returned(first)
    first.close()
    pool.lost(first)
    assert await waiting is not first
    pool.close()
    await play.end()


async def test_who_wants_a_new_pipe_has_none_that_comes_back() -> None:
    """It is wanted since one that was kept had just been closed, and the others may be, too."""
    play = Play(1)
    limits = replace(LIMITS, warm=0, warm_most=0, wait_seconds=10, idle_seconds=10)

    async def slowly(count: int, place: Place) -> None:
        await asyncio.sleep(0.02)
        for _ in range(count):
            place(FakeTransport(play.ways[0].there), b"")

    pool = PipePool(slowly, play.tasks, limits, "agent", play.total)
    first = await pool.take(LINES[0], max_idle_seconds=1.0)
    waiting = asyncio.create_task(pool.take(LINES[0], max_idle_seconds=-1.0))
    await asyncio.sleep(0)
    pool.returned(first)
    assert await waiting is not first
    pool.close()
    await play.end()


async def test_what_many_want_at_once_is_asked_for_together() -> None:
    play = Play(1)
    limits = replace(LIMITS, warm=0, warm_most=0, per_agent=200, wait_seconds=10, idle_seconds=10)
    asked: list[int] = []

    async def source(count: int, place: Place) -> None:
        asked.append(count)
        for _ in range(count):
            place(FakeTransport(play.ways[0].there), b"")

    pool = PipePool(source, play.tasks, limits, "agent", PipeTotal(300))
    await asyncio.gather(*(pool.take(LINES[0], max_idle_seconds=1.0) for _ in range(100)))
    assert asked == [AT_ONCE, 100 - AT_ONCE]
    await pool.take(LINES[0], max_idle_seconds=1.0)
    assert asked == [AT_ONCE, 100 - AT_ONCE, 1]
    pool.close()
    await play.end()

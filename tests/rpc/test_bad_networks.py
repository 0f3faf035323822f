"""Two links over a network that holds messages back and breaks: every call ends, and what is heard is what was said."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from memory_channel import MemoryChannel

from prouter.errors import LinkClosed, ProuterError
from prouter.rpc.calls import Call, CallContext
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods

SECONDS = 20.0
KINDS = (CallType.UNARY, CallType.ISTREAM, CallType.OSTREAM, CallType.BISTREAM)
HELLO: Mapping[str, Any] = {"auth": {"uid": "u", "name": "n"}, "prouter": {"version": "1"}}


class Network:
    """Two channels; each message is held back for some turns of the loop, and after so many all is cut."""

    def __init__(self, seed: int, cut_after: int | None) -> None:
        self._random = random.Random(seed)
        self._left = cut_after
        self._pumps: list[asyncio.Task[None]] = []
        self.near, self.far = self._joined()

    def _joined(self) -> tuple[MemoryChannel, MemoryChannel]:
        to_far: asyncio.Queue[bytes] = asyncio.Queue()
        to_near: asyncio.Queue[bytes] = asyncio.Queue()
        near, far = MemoryChannel(to_far.put_nowait), MemoryChannel(to_near.put_nowait)
        self._pumps = [asyncio.create_task(self._pump(to_far, far)), asyncio.create_task(self._pump(to_near, near))]
        return near, far

    async def _pump(self, held: asyncio.Queue[bytes], to: MemoryChannel) -> None:
        while True:
            data = await held.get()
            for _ in range(self._random.choice((0, 0, 0, 1, 3, 20))):
                await asyncio.sleep(0)
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    self.near.cut()
                    self.far.cut()
                    return
            to.feed(data)

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.wait(self._pumps)


def offered(heard: dict[int, list[int]]) -> Methods:
    """Methods that keep what they heard by the number of the call, and say the numbers up to a count."""

    async def unary(context: CallContext, number: int, count: int) -> int:
        await asyncio.sleep(0)
        return number

    async def down(context: CallContext, number: int, count: int) -> int:
        for value in range(count):
            await context.send(value)
        return number

    async def up(context: CallContext, number: int, count: int) -> int:
        async for value in context.values():
            heard[number].append(value)
        return number

    async def both(context: CallContext, number: int, count: int) -> int:
        async for value in context.values():
            heard[number].append(value)
            await context.send(value)
        return number

    methods = Methods()
    for kind, method in zip(KINDS, (unary, down, up, both), strict=True):
        methods.add("say", method, kind) if kind is CallType.UNARY else methods.add(f"say-{kind}", method, kind)
    return methods


class Caller:
    """One call, its stream said and heard, and how it ended."""

    def __init__(self, link: Link, number: int, kind: CallType, count: int, cancel_after: int | None) -> None:
        self.number, self.kind, self.count = number, kind, count
        self.heard: list[int] = []
        self.error: ProuterError | None = None
        self.cancelled = False
        self._link = link
        self._cancel_after = cancel_after

    async def run(self) -> None:
        name = "say" if self.kind is CallType.UNARY else f"say-{self.kind}"
        try:
            async with self._link.open(self.kind, name, self.number, self.count) as call:
                saying = asyncio.create_task(self._say(call))
                try:
                    await self._hear(call)
                finally:
                    saying.cancel()
                    await asyncio.wait((saying,))
                    if not saying.cancelled() and isinstance(error := saying.exception(), ProuterError):
                        self.error = error
        except ProuterError as error:
            self.error = error

    async def _say(self, call: Call) -> None:
        if self.kind.caller_streams:
            for value in range(self.count):
                await call.send(value)
            await call.close_send()

    async def _hear(self, call: Call) -> None:
        async for value in call.values():
            self.heard.append(value)
            if self._cancel_after is not None and len(self.heard) > self._cancel_after:
                self.cancelled = True
                return
        assert await call.result() == self.number


CALLS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40), st.none() | st.integers(0, 20)), max_size=8)


@settings(deadline=None, max_examples=150)
@given(calls=CALLS, seed=st.integers(0, 2**32), cut_after=st.none() | st.integers(0, 200))
def test_calls_end_and_streams_are_whole_or_a_beginning(
    calls: list[tuple[CallType, int, int | None]], seed: int, cut_after: int | None
) -> None:
    asyncio.run(_story(calls, seed, cut_after))


async def _story(calls: list[tuple[CallType, int, int | None]], seed: int, cut_after: int | None) -> None:
    heard: dict[int, list[int]] = {number: [] for number in range(len(calls))}
    network = Network(seed, cut_after)

    async def anybody(data: Mapping[str, Any]) -> Mapping[str, Any]:
        return HELLO

    async with asyncio.timeout(SECONDS):
        accepting = asyncio.create_task(Link.accept(network.far, authenticate=anybody, methods=offered(heard)))
        try:
            near = await Link.connect(network.near, user_data=HELLO)
        except LinkClosed:
            assert cut_after is not None
            await asyncio.gather(accepting, return_exceptions=True)
            await network.close()
            return
        far = await accepting
        running = [asyncio.create_task(near.run()), asyncio.create_task(far.run())]
        callers = [Caller(near, number, *call) for number, call in enumerate(calls)]
        await asyncio.gather(*(caller.run() for caller in callers))
        await near.close()
        network.far.cut()
        await asyncio.gather(*running)
        await network.close()
    for caller in callers:
        check_heard(caller, heard[caller.number], cut=cut_after is not None)


def check_heard(caller: Caller, heard_there: list[int], *, cut: bool) -> None:
    said = list(range(caller.count))
    assert heard_there == said[: len(heard_there)]
    assert caller.heard == said[: len(caller.heard)]
    if caller.error is not None:
        assert cut
        assert isinstance(caller.error, LinkClosed)
    elif not caller.cancelled:
        assert not caller.kind.callee_streams or caller.heard == said
        assert not caller.kind.caller_streams or heard_there == said

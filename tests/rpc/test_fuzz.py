"""A hundred thousand messages that somebody spoiled: no crash, no hang, no long turn of the loop, no more memory (R17).

Ten million in the long form, or as many as PROUTER_TEST_FUZZ says.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest
from memory_channel import MemoryChannel
from recordings import SCENARIOS, read

from prouter.errors import ProuterError, Unauthorized
from prouter.rpc.calls import CallContext
from prouter.rpc.connection import Link
from prouter.rpc.machine import IdCounter
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods

sys.path.append(str(Path(__file__).parent.parent / "faults"))

from figures import LONG, Figures

MESSAGES = int(os.environ.get("PROUTER_TEST_FUZZ", "10000000" if LONG else "100000"))
STRANGERS = MESSAGES // (10 if LONG else 1)
"""Each two of them are a link of their own."""
SEED = int(os.environ.get("PROUTER_TEST_SEED", "1"))
TURN_SECONDS = 0.05
"""Of processor time in one turn of the loop: what others do on this machine does not count."""
KEPT_BYTES = 24 * 1024 * 1024
OTHER_VALUES = (0, 1, 5, 2**63, -1, None, True, "", "x" * 1000, b"\x00", [], [[[]]], {1: 2})
HELLO = {"auth": {"uid": "fuzz", "name": "fuzz", "token": "t"}, "platform": {}, "properties": {}}


def corpus() -> list[bytes]:
    """What originals said; long messages in small number, or they would be all that is spoiled."""
    short = [message.data for scenario in SCENARIOS for message in read(scenario).messages if len(message.data) < 4096]
    long = [message.data for scenario in ("archive", "http_post_100k") for message in read(scenario).messages]
    return short + long


class Spoiler:
    """Spoils messages in many ways, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus()

    def message(self) -> bytes:
        choose = self._random.choice
        data = choose(self._corpus)
        return choose((self._flipped, self._cut, self._spliced, self._doubled, self._renamed, self._any, bytes))(data)

    def _flipped(self, data: bytes) -> bytes:
        spoiled = bytearray(data)
        for _ in range(self._random.randint(1, 8)):
            spoiled[self._random.randrange(len(spoiled))] = self._random.randrange(256)
        return bytes(spoiled)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randrange(len(data))]

    def _spliced(self, data: bytes) -> bytes:
        other = self._random.choice(self._corpus)
        return data[: self._random.randrange(len(data))] + other[self._random.randrange(len(other)) :]

    def _doubled(self, data: bytes) -> bytes:
        start = self._random.randrange(len(data))
        part = data[start : start + self._random.randint(1, 64)]
        return data[:start] + part * self._random.randint(2, 50) + data[start:]

    def _renamed(self, data: bytes) -> bytes:
        """A message that is one, with a type, an id or a field of another kind."""
        fields = msgpack.unpackb(data, raw=False)
        place = self._random.randrange(len(fields))
        fields[place] = self._random.choice(
            (0, 1, 5, 2**63, -1, None, True, "", "x" * 1000, b"\x00", [], [[[]]], {1: 2})
        )
        return bytes(msgpack.packb(fields))

    def _any(self, data: bytes) -> bytes:
        kind = self._random.randint(1, 9)
        fields = [kind, self._random.randint(0, 40)]
        for _ in range(self._random.randint(0, 5)):
            fields.append(self._random.choice((20, 30, 40, 50, "echo", "down", [], {}, b"", b"x" * 500, None, [1], 10)))
        return bytes(msgpack.packb(fields))


class Turns:
    """The longest turn of the loop, in seconds of processor time of its thread."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0

    async def watch(self) -> None:
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0)
            self.longest_seconds = max(self.longest_seconds, time.thread_time() - begun)


def offered() -> Methods:
    """A method of each kind."""

    async def echo(context: CallContext, *args: Any, **kwargs: Any) -> Any:
        return list(args)

    async def down(context: CallContext, *args: Any) -> int:
        for number in range(3):
            await context.send(number)
        return 3

    async def up(context: CallContext, *args: Any) -> int:
        return len([value async for value in context.values()])

    async def both(context: CallContext, *args: Any) -> None:
        async for value in context.values():
            await context.send(value)

    methods = Methods()
    for name in ("echo", "job_create", "job_start", "job_info", "job_wait", "job_remove"):
        methods.add(name, echo)
    for name, method, kind in (
        ("down", down, CallType.ISTREAM),
        ("file_download", down, CallType.ISTREAM),
        ("file_upload", up, CallType.OSTREAM),
        ("http_request", both, CallType.BISTREAM),
        ("ws_connect", both, CallType.BISTREAM),
    ):
        methods.add(name, method, kind)
    return methods


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def drained(channel: MemoryChannel) -> None:
    """Until the link has taken what was fed, or has ended."""
    async with asyncio.timeout(20):
        while channel.waiting and not channel.ended:
            await asyncio.sleep(0)


async def let_in(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"auth": {"uid": "us", "name": "us"}}


async def keep_out(data: Mapping[str, Any]) -> Mapping[str, Any]:
    raise Unauthorized("not this one")


async def opened() -> tuple[Link, MemoryChannel, asyncio.Task[None]]:
    """A link that has shaken hands, with calls of ours under way to which messages may belong."""
    channel = MemoryChannel()
    channel.feed(bytes(msgpack.packb([1, 7, [1, None, HELLO]])))
    link = await Link.accept(channel, authenticate=let_in, ids=IdCounter(), methods=offered())
    running = asyncio.create_task(link.run())
    for kind in (CallType.UNARY, CallType.ISTREAM, CallType.OSTREAM, CallType.BISTREAM) * 2:
        await link.open(kind, "theirs").__aenter__()
    return link, channel, running


async def closed(link: Link, running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(20):
        await link.close()
        await running


async def fuzz_peers(spoiler: Spoiler, count: int) -> int:
    """Messages of a peer that has shown who it is; how many links they ended."""
    links = 0
    link, channel, running = await opened()
    for number in range(count):
        channel.feed(spoiler.message())
        if number % 16 == 0:
            await drained(channel)
        if channel.ended:
            links += 1
            await closed(link, running)
            link, channel, running = await opened()
    await drained(channel)
    await closed(link, running)
    return links


async def fuzz_strangers(spoiler: Spoiler, count: int) -> int:
    """First messages of peers that nobody knows, two of each; how many of them were taken for a handshake."""
    known = 0
    for _ in range(count // 2):
        channel = MemoryChannel()
        channel.feed(spoiler.message())
        channel.feed(spoiler.message())
        accepting = asyncio.create_task(Link.accept(channel, authenticate=keep_out))
        await drained(channel)
        channel.cut()
        try:
            async with asyncio.timeout(20):
                await accepting
        except Unauthorized:
            known += 1
        except ProuterError:
            pass
    return known


@pytest.mark.timeout(120 + MESSAGES // 2000)
@pytest.mark.parametrize(("fuzz", "count"), [(fuzz_peers, MESSAGES), (fuzz_strangers, STRANGERS)])
async def test_spoiled_messages_end_calls_and_links_and_nothing_else(
    fuzz, count: int, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.ERROR)
    logging.getLogger("prouter.rpc").setLevel(logging.ERROR)
    await fuzz(Spoiler(SEED), 2000)  # whatever is made once is made now
    before, turns = resident_bytes(), Turns()
    gc.collect()
    gc.freeze()  # looking through all that the test run itself has made is not the link's doing
    watching = asyncio.create_task(turns.watch())
    try:
        ended = await fuzz(Spoiler(SEED + 1), count)
    finally:
        gc.unfreeze()
        watching.cancel()
        logging.getLogger("prouter.rpc").setLevel(logging.NOTSET)
    kept, longest = resident_bytes() - before, turns.longest_seconds
    figures = Figures(request.config.rootpath / "out" / "reliability.json", request.node.nodeid)
    what = f"messages of {'peers' if fuzz is fuzz_peers else 'strangers'} at a link's machine"
    figures.record("R17", f"spoiled {what}", count)
    figures.record("R17", f"growth under {what}", kept / 2**20, goal=KEPT_BYTES / 2**20, unit="MiB")
    figures.record("R17", f"longest turn of the loop under {what}", longest * 1000, goal=TURN_SECONDS * 1000, unit="ms")
    assert ended > 0, "the messages were never so spoiled, or never so sound, as they are meant to be"
    assert not caplog.records, caplog.records[0].getMessage()
    assert kept < KEPT_BYTES
    assert longest < TURN_SECONDS, f"a turn of the loop took {longest * 1000:.0f} ms"


async def test_an_id_that_is_used_again_at_once_is_another_call() -> None:
    """The first call's task has answered, and nobody has noticed its end when the second begins."""
    sent: list[bytes] = []
    channel, methods, begun = MemoryChannel(sent.append), Methods(), 0

    async def again(context: CallContext) -> int:
        nonlocal begun
        begun += 1
        if begun == 1:
            channel.feed(call)
            return 1
        await asyncio.sleep(0.01)
        return 2

    methods.add("again", again)
    call = bytes(msgpack.packb([2, 9, 20, "again", [], {}]))
    channel.feed(bytes(msgpack.packb([1, 7, [1, None, HELLO]])))
    link = await Link.accept(channel, authenticate=let_in, ids=IdCounter(), methods=methods)
    running = asyncio.create_task(link.run())
    channel.feed(call)
    async with asyncio.timeout(20):
        while len(sent) < 3:
            await asyncio.sleep(0)
    answers = [msgpack.unpackb(message, raw=False) for message in sent[1:]]
    await closed(link, running)
    assert [(msgpack.unpackb(answer[2]), answer[3]) for answer in answers] == [(1, 0), (2, 0)]

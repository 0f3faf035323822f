"""What the relay does to bytes: each of its faults, seen from both ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from prouter.testing import BrokenNetwork, RouterHere, eventually
from prouter.testing.here import InProcess

PAYLOAD = bytes(range(256)) * 4000
LINE_SECONDS = 20


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, int]]:
    """A server that says what it hears, and ends when the other side does."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


async def through(line: BrokenNetwork, data: bytes = PAYLOAD) -> bytes:
    """What comes back until the end. Raises ConnectionError."""
    reader, writer = await asyncio.open_connection(*line.address)

    async def say() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    saying = asyncio.create_task(say())
    try:
        async with asyncio.timeout(LINE_SECONDS):
            heard = await reader.read(-1)
            await saying
            return heard
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        writer.transport.abort()


async def test_all_bytes_come_through_in_whatever_pieces_and_with_a_clean_end() -> None:
    async with echo() as target, BrokenNetwork(target, seed=7) as line:
        line.there.pieces = (1, 7, 100, 4000)
        line.back.late, line.back.delay_seconds = 0.05, 0.01
        begun = asyncio.get_running_loop().time()
        assert await through(line) == PAYLOAD
        assert asyncio.get_running_loop().time() - begun > 0.01
        assert line.there.passed == line.back.passed == len(PAYLOAD)
        assert line.connections == 1


async def test_a_line_falls_silent_in_one_direction_and_goes_on() -> None:
    async with echo() as target, BrokenNetwork(target) as line:
        line.back.fall_silent()
        going = asyncio.create_task(through(line))
        await eventually(lambda: line.there.passed > 0)
        assert line.back.passed == 0
        assert not going.done()
        line.flow()
        assert await going == PAYLOAD


async def test_a_cut_is_a_reset_and_a_line_that_refuses_takes_nobody_until_it_does() -> None:
    async with echo() as target, BrokenNetwork(target) as line:
        line.fall_silent()
        going = asyncio.create_task(through(line))
        await eventually(lambda: line.connections == 1)
        line.cut()
        with pytest.raises(ConnectionError):
            await going
        line.flow()
        line.refuse()
        with pytest.raises(ConnectionError):
            await through(line)
        line.take_again()
        assert await through(line) == PAYLOAD


async def test_a_line_breaks_after_so_many_bytes() -> None:
    async with echo() as target, BrokenNetwork(target, cut_after=300_000) as line:
        with pytest.raises(ConnectionError):
            await through(line)
        assert await through(line, b"short") == b"short"


async def test_a_line_is_as_slow_as_it_is_told() -> None:
    async with echo() as target, BrokenNetwork(target) as line:
        line.there.bytes_per_second = 100_000
        line.there.pieces = (1000,)
        begun = asyncio.get_running_loop().time()
        assert await through(line, PAYLOAD[:30_000]) == PAYLOAD[:30_000]
        assert asyncio.get_running_loop().time() - begun > 0.29


async def test_a_target_that_is_not_there_is_a_cut() -> None:
    async with echo() as target:
        pass
    async with BrokenNetwork(target) as line:
        with pytest.raises(ConnectionError):
            await through(line, b"x")


async def test_an_agent_behind_a_line_that_was_cut_comes_back(router: RouterHere, in_process: InProcess) -> None:
    async with BrokenNetwork(router.address("server")) as line:
        address = f"client.address='{line.authority}'"
        agent = await in_process.agent(router, address, "client.reconnect_delay=0.1")
        line.cut()
        await eventually(lambda: line.connections >= 2)
        await router.agent_is_there(agent)
        await agent.stop()

"""A router's tickets at its own door: each opens one pipe, in time, of the agent, boot and link it is for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest

from prouter.pipe.opening import opening_request, websocket_request
from prouter.rpc.calls import CallContext
from prouter.testing import Fleet, RouterDaemon, eventually
from prouter.testing.fake_agent import FakeAgent

KEY = base64.b64encode(b"sixteen bytes...").decode()
SECONDS = 20


class Asked(FakeAgent):
    """Keeps the tickets that it is given."""

    def __init__(self, *args, **named) -> None:
        super().__init__(*args, **named)
        self.tickets: list[str] = []
        self.calls: list[int] = []

    async def pipe_dial(self, context: CallContext, tickets: Sequence[str]) -> None:
        self.calls.append(len(tickets))
        self.tickets += tickets


@contextlib.asynccontextmanager
async def waiting(router: RouterDaemon, agent: FakeAgent, count: int = 1) -> AsyncIterator[str]:
    """So many requests that wait for a pipe to a job of that agent, which is named."""
    async with router.client() as client, asyncio.TaskGroup() as group:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start(["program"], port={"mode": "assign"})

        async def ask() -> None:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.session.get(job.url()) as answer:
                    await answer.read()

        requests = [group.create_task(ask()) for _ in range(count)]
        yield str(job.info["uid"])
        for request in requests:
            request.cancel()


class Knock:
    """A connection to the door of agents."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader, self.writer = reader, writer
        self.status = int(head[9:12])

    async def line(self) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self.reader.readline()


@contextlib.asynccontextmanager
async def knock(router: RouterDaemon, ticket: str, *, websocket: bool = False) -> AsyncIterator[Knock]:
    address = router.address("server")
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(websocket_request(*address, ticket, KEY) if websocket else opening_request(*address, ticket))
        async with asyncio.timeout(SECONDS):
            yield Knock(reader, writer, await reader.readuntil(b"\r\n\r\n"))
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def status(router: RouterDaemon, ticket: str, *, websocket: bool = False) -> int:
    async with knock(router, ticket, websocket=websocket) as answered:
        return answered.status


async def test_a_ticket_opens_one_pipe_and_is_used_up_whichever_way(fleet: Fleet) -> None:
    router = fleet.router("pipes.warm=4")
    async with Asked(router) as agent, waiting(router, agent) as job:
        await eventually(lambda: len(agent.tickets) == 5)
        async with knock(router, agent.tickets[0]) as pipe:
            assert pipe.status == 101
            assert (await pipe.line()).decode() == f"job {job} http {agent.hello.link}\n"
            assert [await status(router, agent.tickets[0], websocket=over) for over in (False, True)] == [404, 404]
        assert await status(router, agent.tickets[1], websocket=True) == 101
        assert [await status(router, agent.tickets[1], websocket=over) for over in (False, True)] == [404, 404]


async def test_a_ticket_that_is_late_opens_nothing(fleet: Fleet) -> None:
    router = fleet.router("pipes.ticket_seconds=0.3", "pipes.warm=4")
    async with Asked(router) as agent, waiting(router, agent):
        await eventually(lambda: len(agent.tickets) >= 5)
        early, *late = agent.tickets[:5]
        assert await status(router, early) == 101
        await asyncio.sleep(0.4)  # it is about time passing
        for ticket in late:
            assert await status(router, ticket, websocket=ticket is late[0]) == 404


@pytest.mark.parametrize("again", ["another link", "another boot"])
async def test_a_ticket_of_a_link_that_ended_opens_nothing(fleet: Fleet, again: str) -> None:
    router = fleet.router("pipes.warm=4")
    first = Asked(router)
    async with contextlib.AsyncExitStack() as held:
        async with first:
            await held.enter_async_context(waiting(router, first))
            await eventually(lambda: len(first.tickets) == 5)
            assert await status(router, first.tickets[0]) == 101
        boot = first.hello.boot if again == "another link" else "another"
        async with Asked(router, first.uid, boot=boot, link=2):
            for ticket in first.tickets[1:]:
                assert await status(router, ticket, websocket=ticket is first.tickets[1]) == 404


async def test_a_ticket_leads_to_its_own_agent_whoever_brings_it(fleet: Fleet) -> None:
    router = fleet.router("pipes.warm=0", "pipes.warm_most=0")
    async with (
        Asked(router) as one,
        Asked(router, link=2) as other,
        waiting(router, one) as job,
        waiting(router, other) as others_job,
    ):
        await eventually(lambda: len(one.tickets) == len(other.tickets) == 1)
        async with knock(router, one.tickets[0]) as pipe:
            assert (await pipe.line()).decode() == f"job {job} http 1\n"
        async with knock(router, other.tickets[0]) as pipe:
            assert (await pipe.line()).decode() == f"job {others_job} http 2\n"


@pytest.mark.parametrize(
    ("count", "settings", "asked"),
    [
        (5, ("pipes.warm=1", "pipes.warm_most=1"), 6),
        (100, ("pipes.warm=0", "pipes.warm_most=0"), 100),
        (1, ("pipes.warm=8", "pipes.per_agent=4"), 4),
        (1, ("pipes.warm=8", "pipes.total=3"), 3),
    ],
)
async def test_no_more_are_asked_for_than_wait_and_are_kept_warm(
    fleet: Fleet, count: int, settings: tuple[str, ...], asked: int
) -> None:
    router = fleet.router(*settings)
    async with Asked(router) as agent, waiting(router, agent, count):
        await eventually(lambda: len(agent.tickets) >= asked)
        (shown,) = (await _connections(router))["connections"]
        assert shown["pipes"]["waiting"] == count
        assert len(agent.tickets) == asked
        assert max(agent.calls) <= 64


async def _connections(router: RouterDaemon) -> dict:
    async with router.client() as client:
        return await client.request("GET", "/connections")

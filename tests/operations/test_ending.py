"""A router that is told to end waits for requests that were begun, not for clients that neither read nor send."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from prouter.client import Client
from prouter.testing import Fleet, RouterDaemon, eventually

DRAIN_SECONDS = 50
ENDED_WITHIN = 20.0
"""Much less than it would wait for a request that was begun."""


def connect(router: RouterDaemon, request: str) -> socket.socket:
    """A client with a small buffer, so that what it does not read stays with the router."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(router.address("control"))
    client.sendall(request.encode())
    return client


def read_all(client: socket.socket) -> None:
    while client.recv(65536):
        pass


async def ended(router: RouterDaemon) -> None:
    router.signal(signal.SIGTERM)
    assert await asyncio.to_thread(router.ended, ENDED_WITHIN) == 0
    assert "cut at the deadline" not in router.log


async def test_a_follower_of_events_that_does_not_read_is_cut(fleet: Fleet) -> None:
    router = fleet.router(f"shutdown.drain_timeout={DRAIN_SECONDS}")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    with connect(router, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n") as slow:
        assert await asyncio.to_thread(slow.recv, 12) == b"HTTP/1.1 200"
        async with router.client() as client:

            async def make() -> None:
                await (await client.create({"type": "uid", "uid": agent.uid}, labels={"l": "x" * 15_000})).remove()

            await asyncio.gather(*(make() for _ in range(300)))
            last = await client.create({"type": "uid", "uid": agent.uid})
            await heard_of(client, last.info["uid"])
        await ended(router)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read_all, slow)


async def heard_of(client: Client, job: str) -> None:
    """Until followers are told of this job, and so of all that was before it: news take their turns."""
    async with asyncio.timeout(20):
        async with client.session.get(f"{client.url}/events", headers={"Last-Event-ID": "0"}) as answer:
            seen = b""
            while job.encode() not in seen:
                seen = seen[-200:] + await answer.content.readany()


async def test_a_follower_of_events_that_reads_sees_a_clean_end(fleet: Fleet) -> None:
    router = fleet.router(f"shutdown.drain_timeout={DRAIN_SECONDS}")
    async with router.client() as client, client.session.get(f"{client.url}/events") as answer:
        await ended(router)
        assert await answer.content.read() == b": events follow\n\n"


async def test_a_body_that_does_not_come_is_not_waited_for(fleet: Fleet) -> None:
    router = fleet.router(f"shutdown.drain_timeout={DRAIN_SECONDS}")
    head = "POST /jobs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"
    with connect(router, head) as client:

        async def has_begun() -> bool:
            async with router.client() as other:
                metrics = await (await other.session.get(f"{other.url}/metrics")).text()
            return 'prouter_connections{endpoint="control"} 2' in metrics

        await eventually(has_begun)
        await ended(router)
        assert await asyncio.to_thread(client.recv, 12) == b"HTTP/1.1 503"

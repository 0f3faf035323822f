"""Whoever comes to the endpoint for links without being a peer is sent away, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgpack
import pytest
from strangers import Door, flood, said_until_closed

from prouter.client import Client
from prouter.testing import AgentDaemon, RouterDaemon, eventually

MIB = 2**20
SHORT = "links.handshake_timeout=1.0"


async def garbage(door: Door) -> None:
    assert (await door.raw(os.urandom(5000) + b"\r\n\r\n")).startswith((b"HTTP/1.1 400", b""))


async def half_a_head_that_never_ends(door: Door) -> None:
    assert b" 431 " in (await door.raw(b"GET /rpc/v1 HTTP/1.1\r\nX: " + b"x" * MIB)).split(b"\r\n")[0]


async def another_subprotocol(door: Door) -> None:
    for protocols in (("v2.prpc.datadvance",), ("chat", "superchat")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with door.websocket(*protocols):
                pass
        assert error.value.status == 400


async def a_text_for_a_handshake(door: Door) -> None:
    async with door.websocket() as websocket:
        await websocket.send_str("hello")
        assert await said_until_closed(websocket) == ([], 1002)


async def bytes_for_a_handshake(door: Door) -> None:
    async with door.websocket() as websocket:
        await websocket.send_bytes(os.urandom(1000))
        assert await said_until_closed(websocket) == ([], 1002)


async def a_handshake_of_a_megabyte(door: Door) -> None:
    async with door.websocket() as websocket:
        await flood(websocket, bytes(MIB))
        messages, code = await said_until_closed(websocket)
        assert (messages, code in (1002, 1009, None)) == ([], True)


async def pings_and_no_handshake(door: Door) -> None:
    async with door.websocket() as websocket:
        await flood(websocket, bytes(100), ping=True)


async def calls_and_no_handshake(door: Door) -> None:
    async with door.websocket() as websocket:
        await flood(websocket, bytes(msgpack.packb([2, 1, 20, "job_create", [], {}])))
        assert (await said_until_closed(websocket))[0] == []


async def silence(door: Door) -> None:
    async with door.websocket() as websocket:
        assert await said_until_closed(websocket) == ([], 1002)


async def a_wrong_token(door: Door) -> None:
    for token in ("", "not-the-token", door.token[:-1]):
        async with door.websocket() as websocket:
            await websocket.send_bytes(door.hello(token))
            assert await said_until_closed(websocket) == ([], 1002)


async def nobody_s_name(door: Door) -> None:
    async with door.websocket() as websocket:
        await websocket.send_bytes(door.hello(uid=""))
        assert await said_until_closed(websocket) == ([], 1002)


async def a_handshake_full_of_nonsense(door: Door) -> None:
    odd = {"auth": {"uid": [1], "name": {}, "token": door.token}, "prouter": {"version": 1, "capabilities": 5}}
    async with door.websocket() as websocket:
        await websocket.send_bytes(bytes(msgpack.packb([1, 1, [1, None, odd]])))
        assert await said_until_closed(websocket) == ([], 1002)


MISCHIEF = [
    garbage,
    half_a_head_that_never_ends,
    another_subprotocol,
    a_text_for_a_handshake,
    bytes_for_a_handshake,
    a_handshake_of_a_megabyte,
    pings_and_no_handshake,
    calls_and_no_handshake,
    silence,
    a_wrong_token,
    nobody_s_name,
    a_handshake_full_of_nonsense,
]


def doors(router: RouterDaemon, agent: AgentDaemon) -> dict[str, Door]:
    return {
        "router": Door(*router.address("server"), router.agent_token),
        "agent": Door(*agent.address("server"), agent.token),
    }


@asynccontextmanager
async def others_at_work(router: RouterDaemon, agent: AgentDaemon) -> AsyncIterator[list[str]]:
    """The agent that is connected gets jobs all the time; yields those that it had."""
    done: list[str] = []

    async def work(client: Client) -> None:
        while True:
            job = await client.create({"type": "uid", "uid": agent.uid}, "meanwhile")
            await job.remove()
            done.append(job.path)

    async with router.client() as client:
        working = asyncio.create_task(work(client))
        yield done
        assert not working.done(), working.exception()
        before = len(done)
        await eventually(lambda: len(done) > before)
        working.cancel()
        await asyncio.wait([working])
        assert [found["uid"] for found in await client.agents()] == [agent.uid]


@pytest.mark.parametrize("whose", ["router", "agent"])
async def test_strangers_are_sent_away_while_others_are_served(fleet, whose: str) -> None:
    router = fleet.router(SHORT)
    agent = fleet.agent(router, SHORT)
    await router.agent_is_there(agent)
    door = doors(router, agent)[whose]

    async def one(mischief: Callable[[Door], Awaitable[None]]) -> None:
        async with asyncio.timeout(60):
            await mischief(door)

    async with others_at_work(router, agent) as done:
        await asyncio.gather(*(one(mischief) for mischief in MISCHIEF))
        assert done
    log = router.log + agent.log
    assert door.token not in log
    assert "not-the-token" not in log


async def test_many_who_say_nothing_leave_room_for_an_agent(fleet) -> None:
    router = fleet.router("links.handshake_timeout=30.0")
    host, port = router.address("server")
    streams = [await asyncio.open_connection(host, port) for _ in range(200)]
    try:
        await router.agent_is_there(fleet.agent(router))
    finally:
        for _, writer in streams:
            writer.close()


async def test_nothing_else_is_found_at_the_door(fleet) -> None:
    router, agent = await fleet.pair()
    async with aiohttp.ClientSession() as session:
        for daemon in (router, agent):
            for path in ("/info", "/jobs", "/", "/rpc/v1", "/rpc/v2", "/pipe/v1"):
                async with session.get(daemon.url("server") + path) as answer:
                    assert answer.status == 404, path
                    assert answer.content_type == "application/problem+json"

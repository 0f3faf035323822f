"""Peers that have the token and break the protocol: their link ends, at once and cheaply, and no other."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import msgpack
import pytest
from hand_made import hello
from strangers import Door, flood, said_until_closed

from prouter.errors import InvalidRequest
from prouter.model.jobs import MAX_LABELS
from prouter.testing import eventually
from prouter.testing.fake_agent import linked

MIB = 2**20
SIZE = 16 * MIB
BOMB = b"\x93\x08\x01\xdd" + SIZE.to_bytes(4, "big") + b"\x90" * SIZE
TOO_LARGE_CALL = bytes(msgpack.packb([2, 1, 20, "m", [bytes(5 * MIB)], {}]))
BREACHES = {
    "garbage": os.urandom(3000),
    "16 MiB of tiny lists": BOMB,
    "a call that is too large": TOO_LARGE_CALL,
    "a message over the largest": bytes(65 * MIB),
}


@pytest.mark.parametrize("whose", ["router", "agent"])
async def test_a_peer_that_breaks_the_protocol_loses_its_link(fleet, whose: str) -> None:
    router, agent = await fleet.pair()
    daemon, token = (router, router.agent_token) if whose == "router" else (agent, agent.token)
    door = Door(*daemon.address("server"), token)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "kept")
        for name, breach in BREACHES.items():
            async with door.link(uid="breaker") as websocket:
                try:
                    await websocket.send_bytes(breach)
                    _, code = await said_until_closed(websocket)
                except (ConnectionError, aiohttp.ClientError):
                    code = None
                assert code in (1002, 1009, None), name
            assert (await job.refresh()).info["agent"]["connected"]
        async with door.link(uid="breaker") as websocket:
            await websocket.send_str("a text")
            assert (await said_until_closed(websocket))[1] == 1002
    assert daemon.memory_bytes() < 400 * MIB


@pytest.mark.parametrize("whose", ["router", "agent"])
async def test_calls_that_nobody_offers_are_refused_and_a_flood_whose_answers_nobody_reads_ends_its_link(
    fleet, whose: str
) -> None:
    router, agent = await fleet.pair()
    daemon, token = (router, router.agent_token) if whose == "router" else (agent, agent.token)
    door = Door(*daemon.address("server"), token)
    call = bytes(msgpack.packb([2, 77, 20, "no_such_method" * 30, [], {}]))
    async with door.link(uid="flooder") as websocket:
        await websocket.send_bytes(call)
        while (answer := msgpack.unpackb(await websocket.receive_bytes(timeout=20)))[:2] != [7, 77]:
            pass
        assert answer[3] == 20
        await flood(websocket, call)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "meanwhile")
        assert (await job.refresh()).info["agent"]["connected"]
    assert daemon.memory_bytes() < 400 * MIB


async def test_an_original_that_says_nothing_more_is_an_agent_until_its_link_ends(fleet) -> None:
    router = fleet.router()
    door = Door(*router.address("server"), router.agent_token)
    async with router.client() as client:
        async with door.link(uid="old one") as websocket, asyncio.TaskGroup() as group:
            reading = group.create_task(websocket.receive())  # answers pings

            async def there() -> bool:
                found = [(agent["uid"], agent["connected"], agent["version"]) for agent in await client.agents()]
                return found == [("old one", True, None)]

            await eventually(there)
            reading.cancel()

        async def away() -> bool:
            return not any(found["connected"] for found in await client.agents())

        await eventually(away)


async def test_a_router_can_not_give_a_job_more_labels_than_other_routers_are_told_of(fleet) -> None:
    agent = fleet.agent()
    labels = {str(number): "" for number in range(MAX_LABELS + 1)}
    async with linked(agent.address("server"), hello("r", agent.token, boot="b", link=1)) as rpc:
        with pytest.raises(InvalidRequest, match="64 labels"):
            await rpc.call("prouter_create", None, "", labels, timeout_seconds=20)
        assert await rpc.call("prouter_create", None, "", dict(list(labels.items())[1:]), timeout_seconds=20)

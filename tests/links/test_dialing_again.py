"""How an agent dials: again and again, with pauses that grow and differ; what it says when it is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web
from hand_made import hello

from prouter.client.client import RequestFailed
from prouter.rpc import websocket
from prouter.rpc.limits import Limits
from prouter.rpc.machine import IdCounter, Machine, Role
from prouter.testing import Daemon, eventually

QUICK = "client.reconnect_delay=0.4"


@asynccontextmanager
async def refusing_router() -> AsyncIterator[tuple[str, list[float]]]:
    """Says that it has no time for anybody; its address, and when each came."""
    came: list[float] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", came


def dialing(address: str, *more: str) -> tuple[None, str, str, str]:
    return (None, "client.enabled=True", f"client.address='{address}'", *more)


async def test_the_pauses_between_tries_grow_to_the_reconnect_delay_and_differ(fleet) -> None:
    async with refusing_router() as (address, came):
        fleet.agent(*dialing(address, QUICK))
        await eventually(lambda: len(came) >= 14, seconds=30)
    pauses = [later - earlier for earlier, later in pairwise(came)]
    assert sorted(pauses)[len(pauses) // 2] < 0.4 + 0.3, pauses
    assert pauses[0] < max(pauses[3:])
    assert max(pauses[3:]) - min(pauses[3:]) > 0.01


async def test_the_reconnect_delay_is_3_seconds_unless_it_is_set(fleet) -> None:
    async with refusing_router() as (address, came):
        agent = fleet.agent(*dialing(address))
        await eventually(lambda: len(came) >= 7, seconds=40)
    pauses = [later - earlier for earlier, later in pairwise(came)]
    assert max(pauses) < 3 + 2
    assert agent.log.count("no link to") == 1, "a reason that stays the same is told once"


async def test_an_agent_with_a_wrong_token_is_refused_and_tries_again(fleet) -> None:
    router = fleet.router()
    wrong = {"PAGENT_CLIENT__TOKEN": "wrong-token-of-an-agent"}
    agent = fleet.agent(router, QUICK, environ=wrong)
    await eventually(lambda: router.log.count("was refused") >= 3)
    await eventually(lambda: "is the token right?" in agent.log)
    assert agent.process.poll() is None
    for daemon in (router, agent):
        assert "wrong-token" not in daemon.log
        assert router.agent_token not in daemon.log
    async with router.client() as client:
        assert await client.agents() == []


async def test_an_agent_that_is_dialed_with_a_wrong_token_refuses_and_can_be_dialed_with_the_right_one(fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    host, port = agent.address("server")
    where = {"type": "address", "address": f"{host}:{port}"}
    async with router.client() as client:
        for wrong in ("wrong-token-of-a-router", "", agent.token + "x"):
            with pytest.raises(RequestFailed, match="connection not found") as error:
                await client.create({**where, "token": wrong}, "job")
            assert error.value.http_status == 404
            assert agent.token not in str(error.value)
        assert "the token is not one of" in agent.log
        assert "wrong-token" not in agent.log + router.log
        assert agent.token not in agent.log + router.log
        await client.create({**where, "token": agent.token}, "job")


async def test_with_exit_on_fail_an_agent_ends_when_it_is_refused(fleet) -> None:
    fleet.expected_errors.append("client.exit_on_fail")
    async with refusing_router() as (address, came):
        agent = fleet.agent(*dialing(address, "client.exit_on_fail=True"))
        await ended(agent)
        assert len(came) == 1


async def test_with_exit_on_fail_an_agent_ends_when_its_link_is_lost(fleet) -> None:
    fleet.expected_errors.append("client.exit_on_fail")
    router, agent = await fleet.pair("client.exit_on_fail=True")
    assert agent.process.poll() is None
    router.kill()
    await ended(agent)


async def ended(agent: Daemon) -> None:
    await eventually(lambda: agent.process.poll() is not None)
    assert "ending, as client.exit_on_fail says" in agent.log


async def test_an_agent_with_two_addresses_is_linked_to_both_routers(fleet) -> None:
    token = "a token that both routers take"
    both = {"PROUTER_SERVER__ACCEPT_TOKENS": f'["{token}"]'}
    routers = [fleet.router(environ=both) for _ in range(2)]
    addresses = ["{}:{}".format(*router.address("server")) for router in routers]
    agent = fleet.agent(
        *dialing("127.0.0.1:1", f"client.addresses={addresses!r}", QUICK), environ={"PAGENT_CLIENT__TOKEN": token}
    )
    for router in routers:
        await router.agent_is_there(agent)
    async with routers[0].client() as one, routers[1].client() as two:
        job = await one.create({"type": "uid", "uid": agent.uid}, "made by the first")
        await eventually(two.jobs)
        assert [found.path for found in await two.jobs()] == [job.path]
        routers[0].kill()
        assert (await two.request("GET", job.path + "/info"))["state"] == "NEW"
    assert "127.0.0.1:1:" not in agent.log, "the list wins over the single address"


async def test_the_ids_of_an_agents_handshakes_go_on_over_its_links(fleet) -> None:
    ids: list[int] = []

    async def link(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(protocols=(websocket.SUBPROTOCOL,))
        await response.prepare(request)
        data = await response.receive_bytes()
        ids.append(data[2])
        machine = Machine(Role.ACCEPTING, IdCounter(), Limits())
        machine.receive(data)
        await response.send_bytes(machine.welcome("c" * 32, hello("r", "", boot="b", link=0)))
        await response.close()
        return response

    app = web.Application()
    app.router.add_get(websocket.PATH, link)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        fleet.agent(*dialing(f"127.0.0.1:{port}", QUICK))
        await eventually(lambda: len(ids) >= 3)
    finally:
        await runner.cleanup()
    assert ids[:3] == [1, 2, 3]


async def test_an_agent_ends_at_once_in_whatever_state_its_link_is(fleet) -> None:
    """At each moment from its start on: dialing, shaking hands, linked."""
    router = fleet.router()
    for moment in range(3):
        agent = fleet.agent(router, QUICK)
        await asyncio.sleep(moment * 0.03)
        begun = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - begun < 10

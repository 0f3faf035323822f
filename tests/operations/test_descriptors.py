"""Descriptors run out: clients are told, links and what was begun go on, and the log stays readable."""

from __future__ import annotations

import asyncio
import resource
import socket
from pathlib import Path

import pytest

from prouter.pluginkit.descriptors import WANTED
from prouter.testing import Fleet, RouterDaemon, eventually

LIMIT = 120
NOFILE = resource.RLIMIT_NOFILE


def answer_to_get(router: RouterDaemon) -> bytes:
    with socket.create_connection(router.address("control"), 20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


async def test_a_client_too_many_for_the_descriptors_is_told_and_links_live(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    resource.prlimit(router.pid, NOFILE, (LIMIT, LIMIT))
    async with router.client() as client:
        assert len(await client.agents()) == 1
        held = [socket.create_connection(router.address("control"), 20) for _ in range(2 * LIMIT)]
        try:
            for _ in range(30):
                answer = await asyncio.to_thread(answer_to_get, router)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"X-Request-Id: " in answer
            job = await client.create({"type": "uid", "uid": agent.uid})
            await job.start(["true"], port_expected_count=0)
            assert (await job.mkdir("made"))["type"] == "directory"
            newcomer = fleet.agent(router)

            async def both() -> bool:
                return len(await client.agents()) == 2

            await eventually(both, what=f"the agent {newcomer.uid}")
        finally:
            for connection in held:
                connection.close()
    assert router.log.count("descriptors") <= 3
    assert len(router.log.splitlines()) < 60

    async def is_open_again() -> bool:
        return (await asyncio.to_thread(answer_to_get, router)).startswith(b"HTTP/1.1 200 ")

    await eventually(is_open_again)


async def test_descriptors_that_are_out_altogether_make_no_flood_of_lines(fleet: Fleet) -> None:
    """On asyncio's own loop; uvloop closes by itself what it can not keep, and says nothing."""
    router = fleet.router(environ={"PROUTER_NO_UVLOOP": "1"})
    used = len(list(Path(f"/proc/{router.pid}/fd").iterdir()))
    resource.prlimit(router.pid, NOFILE, (used, LIMIT))
    held = [socket.create_connection(router.address("control"), 20) for _ in range(20)]
    await eventually(lambda: "no connection can be taken now" in router.log)
    resource.prlimit(router.pid, NOFILE, (LIMIT, LIMIT))
    for connection in held:
        connection.close()

    async def is_open_again() -> bool:
        return (await asyncio.to_thread(answer_to_get, router)).startswith(b"HTTP/1.1 200 ")

    await eventually(is_open_again)
    resource.prlimit(router.pid, NOFILE, (used, LIMIT))  # and it may end while they are out
    held = [socket.create_connection(router.address("control"), 20) for _ in range(20)]
    for connection in held:
        connection.close()
    await asyncio.to_thread(router.stop)
    assert len(router.log.splitlines()) < 30


@pytest.mark.parametrize("kind", ["router", "agent"])
def test_the_soft_limit_is_raised_at_the_start(fleet: Fleet, kind: str) -> None:
    soft, hard = resource.getrlimit(NOFILE)
    resource.setrlimit(NOFILE, (512, hard))
    try:
        daemon = fleet.daemon(kind)
    finally:
        resource.setrlimit(NOFILE, (soft, hard))
    assert resource.prlimit(daemon.pid, NOFILE)[0] == (WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard))


async def test_a_client_beyond_the_limit_that_has_much_to_send_reads_the_answer(fleet: Fleet) -> None:
    router = fleet.router("limits.connections=1")
    head = b"POST /jobs/create HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nContent-Length: 200000\r\n\r\n"

    def post() -> bytes:
        with socket.create_connection(router.address("control"), 20) as connection:
            connection.sendall(head + b"x" * 200_000)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return received

    with socket.create_connection(router.address("control"), 20):
        for _ in range(20):
            assert (await asyncio.to_thread(post)).startswith(b"HTTP/1.1 503 ")

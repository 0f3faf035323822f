"""R14: more connections than a process may have descriptors. What was there goes on, the rest is told 503, no panic.

The usual cases are in tests/operations/test_descriptors.py; here there are many times too many, and they insist.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import sys
import time
from collections.abc import Iterator

import aiohttp
import pytest
from figures import LONG, Figures
from proxied import Proxied, joined
from sampling import Sampler, most

from prouter.testing import Fleet, eventually

NOFILE = resource.RLIMIT_NOFILE
DESCRIPTORS = 256
CLIENTS = 1000
SECONDS = 60.0 if LONG else 3.0
"""For which they insist."""
GREEDY = """
import os
try:
    while True:
        os.open("/dev/null", os.O_RDONLY)
except OSError:
    pass
"""
"""Takes all descriptors that it may have."""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def many_descriptors_of_our_own() -> Iterator[None]:
    before = resource.getrlimit(NOFILE)
    resource.setrlimit(NOFILE, (min(before[1], 16384), before[1]))
    yield
    resource.setrlimit(NOFILE, before)


class Crowd:
    """Clients that connect, ask, stay if they may, and come again when they are sent away."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.served = 0
        self.sent_away = 0
        self.silent = 0
        """Sent away without a word."""
        self.other: list[bytes] = []
        self.left = asyncio.Event()

    async def client(self, number: int) -> None:
        while not self.left.is_set():
            with contextlib.suppress(OSError):
                await self._visit()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.left.wait(), 0.5 + number % 10 / 20)

    async def _visit(self) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(HEALTH)
            try:
                line = await reader.readline()
            except ConnectionError:
                line = b""
            if line.startswith(b"HTTP/1.1 200 "):
                self.served += 1
                await self.left.wait()
            elif line.startswith(b"HTTP/1.1 503 "):
                self.sent_away += 1
            elif not line:
                self.silent += 1
            else:
                self.other.append(line)
        finally:
            writer.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_router_with_too_many_clients_keeps_its_agents_and_what_was_begun(
    fleet: Fleet, figures: Figures, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """asyncio's own loop takes as many connections at once as it may, before anybody can refuse them."""
    if loop == "asyncio":
        monkeypatch.setattr(fleet, "router", functools.partial(fleet.router, environ={"PROUTER_NO_UVLOOP": "1"}))
    job = await asyncio.to_thread(joined(fleet))
    router, agent, sampler = job.router, job.agent, Sampler(job.router.pid)
    resource.prlimit(router.pid, NOFILE, (DESCRIPTORS, DESCRIPTORS))
    crowd = Crowd(router.address("control"))
    async with job.wired() as tunnel, router.client() as client, most(sampler) as descriptors:
        await tunnel.send(job.request("/tunnel", "Upgrade: torture", "Connection: Upgrade"))
        assert (await tunnel.head()).status == 101
        await tunnel.exactly(3)
        assert len(await client.agents()) == 1
        clients = [asyncio.create_task(crowd.client(number)) for number in range(CLIENTS)]
        try:
            await eventually(lambda: crowd.served > 100 and crowd.sent_away > CLIENTS // 2)
            lines, cpu, begun = router.log.count("\n"), sampler.cpu_seconds(), time.monotonic()
            while time.monotonic() < begun + SECONDS:
                await tunnel.send(b"still")
                assert await tunnel.exactly(5) == b"still"
                assert [found["uid"] for found in await client.agents()] == [agent.uid]
                await asyncio.sleep(0.1)
            took = time.monotonic() - begun
            lines, cpu = router.log.count("\n") - lines, sampler.cpu_seconds() - cpu
            made = await client.create({"type": "uid", "uid": agent.uid})  # needs a pipe
            assert (await made.mkdir("made"))["type"] == "directory"
            newcomer = fleet.agent(router)  # and there is room for a link

            async def both() -> bool:
                return len(await client.agents()) == 2

            await eventually(both, what=f"the agent {newcomer.uid}")
        finally:
            crowd.left.set()
            gone_at = time.monotonic()
            await asyncio.gather(*clients)
        await eventually(lambda: healthy(job), seconds=6)
        again = time.monotonic() - gone_at
    figures.record("R14", f"log lines a second with too many clients, {loop}", lines / took, goal=10, unit="/s")
    figures.record("R14", f"router's CPU with too many clients, {loop}", cpu / took * 100, goal=30, unit="%")
    figures.record("R14", f"most descriptors of the router, {loop}", descriptors[0], goal=DESCRIPTORS)
    figures.record("R14", f"until all was well again, {loop}", again, goal=2, unit="s")
    assert not crowd.other, crowd.other[:5]
    assert crowd.silent <= crowd.sent_away / 100, "a reset may overtake the answer of one that came amid very many"
    assert lines <= 10 * took
    assert descriptors[0] < DESCRIPTORS
    assert "disconnected" not in router.log


async def healthy(job: Proxied) -> bool:
    async with asyncio.timeout(5):
        return (await job.ask("/x")).status == 200


async def test_an_agent_without_descriptors_keeps_its_link_and_says_503(fleet: Fleet, figures: Figures) -> None:
    job = await asyncio.to_thread(joined(fleet, "pipes.wait_seconds=2"))
    used = Sampler(job.agent.pid).descriptors()
    job.says("begun", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    resource.prlimit(job.agent.pid, NOFILE, (used + 30, 20000))
    url = job.router.url() + job.prefix
    statuses: list[int] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, contextlib.AsyncExitStack() as held:

        async def hold() -> None:
            answer = await held.enter_async_context(session.get(url + "/say/begun?then=hang"))
            statuses.append(answer.status)

        async with asyncio.timeout(60):
            await asyncio.gather(*(hold() for _ in range(100)))
        assert set(statuses) <= {200, 503, 504}, statuses
        assert statuses.count(200) > 0
        refused = statuses.count(503)
        assert refused >= 40
        async with job.router.client() as client:
            assert [found["connected"] for found in await client.agents()] == [True]
            beside = await client.create({"type": "uid", "uid": job.agent.uid}, "beside")
            await beside.start([sys.executable, "-S", "-c", GREEDY], port_expected_count=0)
            assert (await beside.wait(20)).info["exit_code"] == 0
    figures.record("R14", "requests that an agent without descriptors answered 503", refused)
    await eventually(lambda: healthy(job), seconds=6)
    assert job.agent.log.count("\n") < 60
    assert job.router.log.count("opened no pipes") < 20, "beside a line for each request that failed"

"""Two routers with the same agent, behind HAProxy with the configuration of the examples, and clients without pause."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from prouter.client import Client
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.network import reserved_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "operations" / "haproxy.cfg"
CHECKED_EVERY = "100ms"
NOTICE_SECONDS = 0.7
"""Compressed as the examples' are: some times longer than it takes HAProxy to look."""


@dataclass
class Pair:
    routers: list[RouterDaemon]
    agent: AgentDaemon
    url: str
    """Of HAProxy."""

    async def all_is_well(self) -> None:
        """Both routers have their agent, and HAProxy knows."""
        for router in self.routers:
            await router.agent_is_there(self.agent)
        async with aiohttp.ClientSession() as session:

            async def both() -> bool:
                async with session.get(f"{self.url}/haproxy;csv") as answer:
                    lines = (await answer.text()).splitlines()
                return (
                    sum(",UP," in line for line in lines if line.startswith("routers,") and ",BACKEND," not in line)
                    == 2
                )

            await eventually(both, what="HAProxy's trust in both routers")


@asynccontextmanager
async def pair(fleet: Fleet, place: Path, *settings: str) -> AsyncIterator[Pair]:
    if shutil.which("haproxy") is None:
        assert "CI" not in os.environ, "haproxy is not installed"
        pytest.skip("haproxy is not installed")
    settings = (f"shutdown.notice={NOTICE_SECONDS}", "control.trusted_proxies=['127.0.0.1']", *settings)
    first = fleet.router(*settings)
    second = fleet.router(*settings, environ={"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([first.agent_token])})
    for router in (first, second):
        router.stay_put("server", "control")
    addresses = ["{}:{}".format(*router.address("server")) for router in (first, second)]
    agent = fleet.agent(first, f"client.addresses={addresses!r}", "client.reconnect_delay=0.3")
    with reserved_port() as port, haproxy(place, port, [first, second]):
        made = Pair([first, second], agent, f"http://127.0.0.1:{port}")
        async with AsyncExitStack() as stack:
            await eventually(lambda: _answers(made.url), what="HAProxy")
            await made.all_is_well()
            yield made
            await stack.aclose()


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@contextmanager
def haproxy(place: Path, port: int, routers: list[RouterDaemon]) -> Iterator[None]:
    text = (
        EXAMPLE.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("inter 1s", f"inter {CHECKED_EVERY}")
    )
    for number, router in enumerate(routers, 1):
        text = text.replace(f"10.77.0.{number}:8080", "{}:{}".format(*router.address("control")))
    text = text.replace("frontend prouter\n", "frontend prouter\n    stats enable\n    stats uri /haproxy\n")
    text = text.replace("\nbackend routers\n", "\nbackend routers\n    http-response set-header X-Kept %[table_cnt]\n")
    (place / "haproxy.cfg").write_text(text)
    with (
        (place / "haproxy.log").open("wb") as log,
        subprocess.Popen(["haproxy", "-db", "-f", str(place / "haproxy.cfg")], stdout=log, stderr=log) as process,
    ):
        try:
            yield
        finally:
            process.kill()


@dataclass
class Load:
    """What clients that ask again and again were told: when each request began, and what was wrong with its answer."""

    url: str
    asked: list[float] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)

    @asynccontextmanager
    async def of(self, *kinds: Callable[[Client], Awaitable[object]]) -> AsyncIterator[None]:
        """Each kind of request by a client of its own, until the end of this."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for kind in kinds:
                tasks.create_task(self._again_and_again(kind, over))
            try:
                yield
            finally:
                over.set()

    async def _again_and_again(self, kind: Callable[[Client], Awaitable[object]], over: asyncio.Event) -> None:
        async with Client(self.url) as client:
            while not over.is_set():
                began = time.monotonic()
                self.asked.append(began)
                try:
                    async with asyncio.timeout(60):
                        await kind(client)
                except Exception as error:
                    self.failed.append((began, f"{kind.__name__}: {error!r}"))
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.01)

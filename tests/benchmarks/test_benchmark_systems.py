"""What loads are put on: a bulk beside requests comes from another server than they do, behind each system."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from benchmarks.proxies import systems
from benchmarks.proxies.systems import SYSTEMS, System

PROGRAMS = {
    "direct": "true",
    "nginx x2": "nginx",
    "haproxy x2": "haproxy",
    "configurable-http-proxy x2": "configurable-http-proxy",
}


@contextlib.asynccontextmanager
async def saying(name: str) -> AsyncIterator[int]:
    """The port of a server that says its name and what it was asked for."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{name} {request.path}")

    runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def two(place: Path) -> AsyncIterator[tuple[int, int]]:
    async with saying("requests") as port, saying("bulk") as bulk:
        yield port, bulk


async def got(*urls: str) -> list[str]:
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        return [await (await session.get(url)).text() for url in urls]


def urls(system: System) -> tuple[str, str]:
    return f"http://{system.host}:{system.port}{system.prefix}/hundred", f"{system.bulk}/bulk/7"


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_bulk_comes_from_another_server(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"{PROGRAMS[name]} is not installed")
    monkeypatch.setattr(systems, "upstreams", two)
    async with SYSTEMS[name](tmp_path) as system:
        assert await got(*urls(system)) == ["requests /hundred", "bulk /beside/bulk/7"]


async def test_behind_ours_it_comes_from_another_job_also_where_more_is_used(tmp_path: Path) -> None:
    used = systems.prouter(tmp_path, "asyncio", ", activity", systems.ACTIVITY, systems.IDLE_CULLING)
    async with used as system:
        requests, bulk = urls(system)
        assert not bulk.startswith(requests.removesuffix("/hundred"))
        assert await got(requests, bulk) == ["x" * 100, "\0" * 7]

"""Jobs of a live agent with data sets."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest
from prouter_shared_data import SharedData

from prouter.client.client import RequestFailed
from prouter.testing import AgentHere, InProcess, RouterHere, eventually

SERVE = """
import http.server, os
port = int(os.environ["PORT"])
http.server.test(http.server.SimpleHTTPRequestHandler, port=port, bind="127.0.0.1")
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "srv"
    place.mkdir()
    (place / "climate.nc").write_text("warm")
    return place


async def pair(in_process: InProcess, data: Path, *settings: str) -> tuple[RouterHere, AgentHere]:
    router = await in_process.router()
    place = f"shared_data.directory={str(data)!r}"
    return router, await in_process.agent(router, place, *settings, plugins=[SharedData])


async def test_a_job_finds_the_data_and_deletes_links_only(in_process: InProcess, data: Path) -> None:
    router, agent = await pair(in_process, data)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        program = "import os; open('seen', 'w').write(open('data/climate.nc').read()); os.remove('data/climate.nc')"
        await job.start([sys.executable, "-c", program], port_expected_count=0)
        assert (await job.wait()).info["exit_code"] == 0
        assert await job.read("seen") == b"warm"
        await job.remove()
    assert (data / "climate.nc").read_text() == "warm"


async def test_a_job_is_ready_when_its_data_is(in_process: InProcess, data: Path) -> None:
    router, agent = await pair(in_process, data)
    (data / ".preparing").touch()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        async with asyncio.TaskGroup() as group:
            start = group.create_task(job.start([sys.executable, "-c", SERVE], port={"mode": "assign"}))

            async def serves() -> bool:
                listing = await client.request("GET", f"{job.path}/info")
                return listing["state"] in ("PENDING", "RUNNING")

            await eventually(serves)
            assert not start.done()
            (data / ".preparing").unlink()
        assert job.info["state"] == "RUNNING"


async def test_a_job_that_keeps_data_is_not_stopped_when_idle(in_process: InProcess, data: Path) -> None:
    router, agent = await pair(in_process, data, "jobs.idle_timeout=0.3")
    async with router.client() as client:
        sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
        locator = {"type": "uid", "uid": agent.uid}
        kept = await client.create(locator, "kept", labels={"keep": "data"})
        await kept.start(sleeper, port_expected_count=0)
        other = await client.create(locator, "other")
        await other.start(sleeper, port_expected_count=0)
        assert (await other.wait(30)).info["state"] == "FINISHED"
        assert (await kept.refresh()).info["state"] == "RUNNING"


async def test_without_room_for_it_there_is_no_job(in_process: InProcess, data: Path) -> None:
    router, agent = await pair(in_process, data)
    shutil.rmtree(data)
    in_process.expected_errors += ["prouter_prepare_sandbox", "Traceback", "FileNotFoundError"]
    async with router.client() as client:
        with pytest.raises(RequestFailed, match="prouter_prepare_sandbox"):
            await client.create({"type": "uid", "uid": agent.uid}, "job")
        assert await client.jobs() == []


async def test_ends_that_were_missed_are_looked_for(in_process: InProcess, data: Path) -> None:
    router, agent = await pair(in_process, data)
    plugin = agent.plugin("shared_data") or agent.plugin("SharedData")
    async with router.client() as client:
        jobs = [await client.create({"type": "uid", "uid": agent.uid}, str(number)) for number in range(2)]
        here = {str(job.info["uid"]) for job in jobs}
        plugin._users |= {"0" * 32}  # one that is long gone
        plugin.prouter_news_missed(1)
        assert plugin._users == here

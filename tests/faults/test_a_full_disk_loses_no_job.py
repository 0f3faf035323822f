"""R13: a disk that is full under an agent or a router costs what needs room, says so, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from figures import Figures
from small_disks import SmallDisk, needs_mounts, small_disk

from prouter.client import Client, Job, RequestFailed
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = needs_mounts

NO_ROOM_SECONDS = 1.0
"""In which it is told that there is no room."""
ROOM = 3
FULL = ["filled", "without_names"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Where the first agent after a router keeps everything."""
    with small_disk(tmp_path / "agent-1" / "state", names=128) as made:
        yield made


class Home:
    """A router, an agent on a small disk, and how long refusals took."""

    def __init__(self, router: RouterDaemon, agent: AgentDaemon, client: Client) -> None:
        self.router, self.agent, self.client = router, agent, client
        self.waits: list[float] = []

    async def create(self, name: str) -> Job:
        return await self.client.create({"type": "uid", "uid": self.agent.uid}, name)

    async def running(self, name: str, program: str) -> Job:
        job = await self.create(name)
        return await job.start([sys.executable, "-S", "-c", program], port_expected_count=0)

    async def states(self) -> dict[str, tuple[str, str | None, int | None]]:
        return {
            job.info["name"]: (job.info["state"], job.info.get("reason"), job.info.get("exit_code"))
            for job in await self.client.jobs()
        }

    @contextlib.asynccontextmanager
    async def no_room(self) -> AsyncIterator[None]:
        begun = time.monotonic()
        with pytest.raises(RequestFailed) as refused:
            yield
        self.waits.append(time.monotonic() - begun)
        assert refused.value.http_status == 507, refused.value
        assert "room" in str(refused.value), "it says what was wrong"

    async def restart_agent(self) -> None:
        self.agent.kill()
        self.agent.start()
        await self.router.agent_is_there(self.agent)


@pytest.fixture
async def home(disk: SmallDisk, fleet: Fleet) -> AsyncIterator[Home]:
    fleet.expected_errors.append("is not on disk yet")
    router, agent = await fleet.pair()
    async with router.client() as client:
        yield Home(router, agent, client)


ENDS = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\nprint('x' * 300_000)\nraise SystemExit(7)"


@pytest.mark.parametrize("how", FULL)
async def test_what_needs_room_is_507_and_changes_nothing_and_all_else_goes_on(
    disk: SmallDisk, home: Home, figures: Figures, how: str
) -> None:
    new, finished = await home.create("new"), await home.running("finished", "pass")
    await finished.wait(20)
    runs = await home.running("runs", "import time; time.sleep(600)")
    before, directories = await home.states(), sorted(os.listdir(home.agent.jobs))
    with getattr(disk, how)():
        async with home.no_room():
            await home.create("half")
        async with home.no_room():
            await new.start(["true"], port_expected_count=0)
        async with home.no_room():
            await finished.restart()
        async with home.no_room():
            await home.client.drain(home.agent.uid)
        assert await home.states() == before
        assert sorted(os.listdir(home.agent.jobs)) == directories, "half a job is there"
        await runs.stop(grace_seconds=0)  # needs none
        assert (await home.states())["runs"] == ("FINISHED", "stopped", -9)
    await home.create("half")
    await new.start(["true"], port_expected_count=0)
    await finished.restart()
    for job in (new, finished):
        assert (await job.wait(20)).info["exit_code"] == 0
    figures.record("R13", f"until 507 on a disk that is {how}", max(home.waits), goal=NO_ROOM_SECONDS, unit="s")
    assert max(home.waits) < NO_ROOM_SECONDS * ROOM


async def test_a_job_that_ends_on_a_full_disk_has_its_exit_code_also_after_the_agent_died(
    disk: SmallDisk, home: Home
) -> None:
    job = await home.running("ends", ENDS)
    go = home.agent.sandbox(job) / "go"
    disk.fill()
    go.touch()
    assert (await job.wait(20)).info["exit_code"] == 7
    assert "is not on disk yet" in home.agent.log
    await home.restart_agent()  # on a disk that is still full
    assert (await home.states())["ends"] == ("FINISHED", "exited", 7)
    output = b"".join([chunk async for chunk in job.output()])
    assert b"bytes were dropped here" in output, "what found no room is told"
    disk.give_room()
    record = home.agent.jobs / str(job.info["uid"]) / "record.json"
    await eventually(lambda: '"FINISHED"' in record.read_text(), what="the end on disk")
    await home.restart_agent()
    assert (await home.states())["ends"] == ("FINISHED", "exited", 7)


async def test_a_job_that_fills_the_disk_before_it_serves_goes_on(disk: SmallDisk, home: Home) -> None:
    job = await home.create("greedy")
    fills = f"""
import contextlib, os, socket, time
with contextlib.suppress(OSError), open({os.fspath(disk.place / "filler")!r}, "ab", buffering=0) as file:
    while True:
        file.write(bytes(4096))
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
time.sleep(600)
"""
    await job.start([sys.executable, "-S", "-c", fills], port={"mode": "assign"})
    assert (await job.refresh()).info["state"] == "RUNNING"
    disk.give_room()
    record = home.agent.jobs / str(job.info["uid"]) / "record.json"
    await eventually(lambda: '"RUNNING"' in record.read_text(), what="the running job on disk")


async def test_an_agent_that_ends_on_a_full_disk_says_afterwards_how_its_jobs_ended(
    disk: SmallDisk, home: Home
) -> None:
    job = await home.running("runs", "open('ballast', 'wb').write(bytes(1 << 20)); import time; time.sleep(600)")
    ballast = home.agent.sandbox(job) / "ballast"
    await eventually(lambda: ballast.exists() and ballast.stat().st_size == 1 << 20)
    disk.fill()
    await asyncio.to_thread(home.agent.stop)
    home.agent.start()
    await home.router.agent_is_there(home.agent)
    state, reason, _ = (await home.states())["runs"]
    assert (state, reason) == ("FINISHED", "agent-lost")

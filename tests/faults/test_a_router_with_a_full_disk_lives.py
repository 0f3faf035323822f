"""R13: a router whose disk takes no byte or no file more, and whose log can not be written, serves, starts, ends, and
catches up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disks import SmallDisk, needs_mounts, small_disk

from prouter.client import Client
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = needs_mounts


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Where the router, the first daemon, keeps everything."""
    with small_disk(tmp_path / "router-0" / "state") as made:
        yield made


@pytest.fixture
def log_disk(tmp_path: Path, disk: SmallDisk) -> Iterator[SmallDisk]:
    """Where it logs to."""
    with small_disk(tmp_path / "router-0" / "logs") as made:
        (made.place / "log").touch()
        (tmp_path / "router-0" / "log").symlink_to(made.place / "log")
        yield made


def fill_log(disk: SmallDisk) -> None:
    disk.fill()
    with contextlib.suppress(OSError), (disk.place / "log").open("ab", buffering=0) as file:
        while True:  # what is left of its last page
            file.write(b"-")


async def one_is_remembered(fleet: Fleet, disk: SmallDisk) -> tuple[RouterDaemon, AgentDaemon, Path]:
    """The router, its agent, and where it keeps who it knows."""
    router = fleet.router()
    agent = fleet.agent(router)
    memory = disk.place / "agents.json"
    await router.agent_is_there(agent)
    await eventually(lambda: memory.exists() and agent.uid in memory.read_text())
    return router, agent, memory


async def serves_before_and_after_its_death(router: RouterDaemon, *agents: AgentDaemon) -> None:
    async with router.client() as client:
        for agent in agents:
            await serves(client, agent)
    router.stay_put("server")
    router.kill()
    router.start()
    for agent in agents:
        await router.agent_is_there(agent)


async def serves(client: Client, agent: AgentDaemon) -> None:
    job = await client.create({"type": "uid", "uid": agent.uid}, "job")
    await job.start(["true"], port_expected_count=0)
    assert (await job.wait(20)).info["exit_code"] == 0
    assert (await job.mkdir("made"))["type"] == "directory"
    await job.remove()


async def test_a_router_on_a_full_disk_serves_and_starts_and_ends_and_catches_up(
    disk: SmallDisk, log_disk: SmallDisk, fleet: Fleet
) -> None:
    router, first, memory = await one_is_remembered(fleet, disk)
    with disk.filled():
        second = fleet.agent(router)
        await eventually(lambda: "agents.json can not be written" in router.log)
        assert second.uid not in memory.read_text()
    await eventually(lambda: second.uid in memory.read_text(), what="what it could not keep on disk")
    disk.fill()
    fill_log(log_disk)
    await serves_before_and_after_its_death(router, first, second)
    lines = router.log.count("\n")
    async with router.client() as client:
        await serves(client, second)
        assert router.log.count("\n") == lines, "its log is not full"
        log_disk.give_room()
        await serves(client, first)
        await eventually(lambda: router.log.count("\n") > lines)
    fill_log(log_disk)
    assert await asyncio.to_thread(router.stop) == 0
    assert not [place for place in disk.place.iterdir() if place.name.endswith(".new")]


async def test_a_router_on_a_disk_that_takes_no_file_more_serves_and_starts_and_ends_and_catches_up(
    disk: SmallDisk, fleet: Fleet
) -> None:
    router, first, memory = await one_is_remembered(fleet, disk)
    disk.fill_names()
    second = fleet.agent(router)
    await eventually(lambda: "agents.json can not be written" in router.log)
    await serves_before_and_after_its_death(router, first, second)
    async with router.client() as client:
        await serves(client, second)
    assert second.uid not in memory.read_text()
    assert await asyncio.to_thread(router.stop) == 0
    disk.give_room()
    router.start()
    await eventually(lambda: second.uid in memory.read_text(), what="what it could not keep on disk")
    assert [place.name for place in disk.place.iterdir() if place.name.endswith(".new")] == []


async def test_a_router_that_can_not_keep_its_uid_says_why_it_does_not_start(disk: SmallDisk, fleet: Fleet) -> None:
    with disk.without_names():
        said = fleet.refused("router", "--set", f"state.directory={str(disk.place)!r}", status=1)
    assert f"{disk.place} can not be used as a state directory: No space left on device" in said

"""R19: a disk that does not answer under one job's sandbox holds up that job, and nobody else.

Its program and its guardian wait in the kernel, where not even SIGKILL reaches them; so do uploads to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from figures import LONG, Figures
from held_trees import QuickToEnd, is_there, parent_of
from small_disks import hangable_disk, needs_mounts, silent_disk

from prouter.client import Client, Job, RequestFailed
from prouter.testing import AgentDaemon, Fleet, eventually

pytestmark = needs_mounts

WRITES = """
import time
while True:
    open("file", "wb").write(bytes(4096))
    print("written", flush=True)
    time.sleep(0.01)
"""
PRINTS = """
import os, time
os.chdir("/")
while True:
    print("printed", flush=True)
    time.sleep(0.01)
"""
TIMEOUT_SECONDS = 1.0
UPLOADS = 60
"""At once to the disk that hangs: more than an agent has threads for files."""
ENDED_SECONDS = 20.0 if LONG else 5.0
OTHERS_SECONDS = 2.0
ROOM = 3


async def made(client: Client, agent: AgentDaemon, name: str) -> Job:
    return await client.create({"type": "uid", "uid": agent.uid}, name)


async def others_work(client: Client, agent: AgentDaemon) -> float:
    """Seconds for another job's whole life: made, given a file, run, read, removed."""
    begun = time.monotonic()
    job = await made(client, agent, "other")
    async with client.session.put(f"{client.url}{job.path}/file/in", data=io.BytesIO(b"given")) as answer:
        assert answer.status == 200
    await job.start(["/bin/sh", "-c", "cat in; exit 3"], port_expected_count=0)
    assert (await job.wait(20)).info["exit_code"] == 3
    assert await job.read(".pagent.stdout") == b"given"
    await job.remove()
    return time.monotonic() - begun


def packed() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        for number in range(3):
            member = tarfile.TarInfo(f"in/{number}")
            member.size = 10_000
            members.addfile(member, io.BytesIO(bytes(10_000)))
    return archive.getvalue()


async def upload(client: Client, job: Job, number: int) -> None:
    """A file, a part of one, an archive or a directory. It is not answered while the disk hangs."""
    content, part = bytes(100_000), {"Content-Range": "bytes 0-99999/100000"}
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", f"file/{number}", {"data": io.BytesIO(content)}),
        ("PUT", f"file/{number}", {"data": io.BytesIO(content), "headers": part}),
        ("POST", "archive", {"data": io.BytesIO(packed()), "headers": {"Content-Type": "application/octet-stream"}}),
        ("POST", "files", {"json": {"mkdir": f"made-{number}"}}),
    ]
    verb, path, how = ways[number % len(ways)]
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(60), client.session.request(verb, f"{client.url}{job.path}/{path}", **how) as answer:
            await answer.read()


async def test_a_hung_disk_under_one_job_holds_up_nobody_else(fleet: Fleet, figures: Figures) -> None:
    told_so = ["could not be ended", "can not be ended", "in kill of its driver", "Traceback", "guardian"]
    fleet.expected_errors += told_so
    router = fleet.router()
    agent = fleet.agent(router, plugins=() if LONG else (QuickToEnd,))
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await made(client, agent, "hangs")
        sandbox = agent.sandbox(job)
        with hangable_disk(sandbox, 64 * 1024 * 1024) as disk:
            await job.start([sys.executable, "-S", "-c", WRITES], port_expected_count=0)
            await eventually((sandbox / "file").exists, what="the program")
            pid = int(job.info["pid"])
            guardian = parent_of(pid)
            with disk.hanging():
                uploads = [asyncio.create_task(upload(client, job, number)) for number in range(UPLOADS)]
                await eventually(lambda: in_kernel(pid), what="the program to wait for its disk")
                took = [await others_work(client, agent) for _ in range(3)]
                assert (await job.refresh()).info["state"] == "RUNNING"
                begun = time.monotonic()
                with pytest.raises(RequestFailed) as told:
                    await job.stop(grace_seconds=0.2)
                stopping = time.monotonic() - begun
                assert told.value.http_status == 504, told.value
                took.append(await others_work(client, agent))
                assert not any(task.done() for task in uploads), "it did not hang"
            await asyncio.gather(*uploads)
            for one in (pid, guardian):
                await eventually(lambda one=one: not is_there(one), what="the end of what had hung")
            await job.wait(20)
            assert job.info["state"] == "FINISHED"
        await job.remove()
        await others_work(client, agent)
    figures.record("R19", "another job's life beside a hung disk", max(took), goal=OTHERS_SECONDS, unit="s")
    figures.record(
        "R19", "until it is told that a job on a hung disk can not be ended", stopping, goal=ENDED_SECONDS, unit="s"
    )
    assert max(took) <= OTHERS_SECONDS * ROOM
    assert stopping <= ENDED_SECONDS * ROOM


async def test_a_guardian_does_not_wait_for_the_disk_that_it_measures(fleet: Fleet) -> None:
    """Its job has a limit for its sandbox, in which a disk is mounted that does not answer, and does something else."""
    router = fleet.router()
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        stopped, late = await made(client, agent, "stopped"), await made(client, agent, "late")
        with contextlib.ExitStack() as disks:
            for job in (stopped, late):
                disks.enter_context(silent_disk(agent.sandbox(job) / "disk"))
            begun = time.monotonic()
            limits = {"sandbox_bytes": 1 << 30}
            for job, timeout in ((stopped, None), (late, TIMEOUT_SECONDS)):
                await job.start(
                    [sys.executable, "-S", "-c", PRINTS], port_expected_count=0, limits=limits, timeout=timeout
                )
            guardian = parent_of(int(stopped.info["pid"]))
            await eventually(lambda: any(map(in_kernel, tasks_of(guardian))), what="a guardian that waits for the disk")
            before = len(await stopped.read(".pagent.stdout"))

            async def more_is_printed() -> bool:
                return len(await stopped.read(".pagent.stdout")) > before

            await eventually(more_is_printed)
            await late.wait(20)
            ending = time.monotonic() - begun - TIMEOUT_SECONDS
            await stopped.stop(grace_seconds=0)
            assert (late.info["reason"], stopped.info["reason"]) == ("timeout", "stopped")
            await eventually(lambda: not is_there(guardian))
        for job in (stopped, late):
            await job.remove()
    assert ending <= ENDED_SECONDS * ROOM


def tasks_of(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def in_kernel(pid: int) -> bool:
    """Whether it waits where no signal reaches it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "D"

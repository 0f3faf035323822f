"""Drivers that break their promises: the agent names them and lives on, and ends when it is told to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from witness import Told, tell

from prouter import hookimpl
from prouter.client import Client, Job, RequestFailed
from prouter.errors import StartFailed
from prouter.model.ids import JobUid
from prouter.model.plugin import Driver, LaunchRequest
from prouter.model.process import Exit
from prouter.model.services import AgentHost
from prouter.testing import AgentDaemon, eventually

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


async def for_ever() -> None:
    """Whoever cancels it."""
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            tell("it was cancelled, and stays")


class Tree:
    """A tree of the real driver, with one thing wrong."""

    def __init__(self, real: Any, wrong: str) -> None:
        self._real = real
        self._wrong = wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def wait(self) -> Any:
        match self._wrong:
            case "wait raises":
                raise OSError("the daemon is gone")
            case "wait answers":
                return 0
            case "wait hangs":
                await for_ever()
        return await self._real.wait()

    async def kill(self, reason: str) -> Any:
        if self._wrong == "kill hangs":
            await for_ever()
        if self._wrong == "kill raises":
            raise RuntimeError("kill it yourself")
        return await self._real.kill(reason)

    async def ports(self, only: int | None = None) -> Any:
        return {} if self._wrong != "ports answer" else "8080"


class Strange:
    """Plugin and driver; HOW in a start's environment says what is wrong with it."""

    name = "strange"

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._guarded = agent.guarded

    @hookimpl
    def prouter_drivers(self) -> Sequence[Driver]:
        return [self]

    async def start(self, request: LaunchRequest) -> Any:
        how = request.command.env.get("HOW", "")
        match how:
            case "raises":
                raise KeyError("image")
            case "refuses":
                raise StartFailed("the image can not be pulled")
            case "exits":
                sys.exit(1)
            case "answers nothing":
                return None
            case "hangs":
                await asyncio.sleep(600)
            case "comes late":
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    pass
        running = await self._guarded.launch(request)
        tell(f"pid {running.pid}")
        return Tree(running, how)

    async def recover(self, job: JobUid, job_directory: str) -> Exit | None:
        return await self._guarded.recover(job, job_directory)

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        raise RuntimeError("destroyed already?")


PLUGINS = {"strange": Strange}
SETTINGS = ("jobs.driver=strange", "jobs.driver_timeout=0.5")
EXPECTED_ERRORS = ("Traceback", "strange", "may not be gone", "may still be there", "ended")


async def started(client: Client, agent: AgentDaemon, how: str, **options: Any) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, how)
    return await job.start(SLEEPS, env={"HOW": how}, **{"port_expected_count": 0, **options})


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(told: Told) -> list[int]:
    return [int(line.removeprefix("pid ")) for line in told.lines() if line.startswith("pid ")]


async def test_a_start_that_goes_wrong_is_an_answer_and_leaves_nothing(place, told: Told) -> None:
    router, agent = place
    said = {
        "raises": (500, ("plugin 'strange' failed in start of its driver 'strange'", "KeyError")),
        "refuses": (422, ("the image can not be pulled",)),
        "exits": (500, ("plugin 'strange' failed in start of its driver 'strange'", "SystemExit")),
        "answers nothing": (500, ("it answered NoneType instead of a Running",)),
        "hangs": (500, ("plugin 'strange' failed in start", "did not answer within 0.5 s")),
        "comes late": (500, ("plugin 'strange' failed in start", "did not answer within 0.5 s")),
    }
    async with router.client() as client:
        for how, (status, words) in said.items():
            with pytest.raises(RequestFailed) as failed:
                await started(client, agent, how)
            assert failed.value.http_status == status, failed.value.detail
            assert all(word in failed.value.detail for word in words), failed.value.detail
        (late,) = pids(told)
        await eventually(lambda: not lives(late), what="the end of what came too late")
        with pytest.raises(RequestFailed) as failed:
            await started(client, agent, "ports answer", port={"mode": "assign"}, port_expected_count=1)
        assert "failed in ports of its driver 'strange'" in failed.value.detail
        assert not any(map(lives, pids(told)))
        for job in await client.jobs():
            assert job.info["reason"] == "start-failed"
            await job.remove()
        await started(client, agent, "")  # and the next one starts


@pytest.mark.parametrize("how", ["wait raises", "wait answers"])
async def test_a_job_whose_end_can_not_be_waited_for_is_ended_as_lost(place, told: Told, how: str) -> None:
    router, agent = place
    async with router.client() as client:
        job = await started(client, agent, how)
        await job.wait(10)
        assert job.info["reason"] == "agent-lost"
        assert not lives(pids(told)[0])
        await job.remove()


async def test_calls_that_hang_hold_up_neither_a_stop_nor_the_end_of_the_agent(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await started(client, agent, "wait hangs")
        await job.stop(grace_seconds=0)
        assert (job.info["state"], job.info["reason"]) == ("FINISHED", "stopped")
        assert not lives(pids(told)[0])
        for how in ("kill raises", "kill hangs"):
            job = await started(client, agent, how)
            with pytest.raises(RequestFailed) as failed:
                await job.stop(grace_seconds=0)
            assert failed.value.http_status == 504
            assert "could not be ended yet" in failed.value.detail
            assert "plugin 'strange' failed in kill of its driver 'strange'" in agent.log
    assert agent.stop() == 0
    assert not any(map(lives, pids(told))), "guardians ended them"

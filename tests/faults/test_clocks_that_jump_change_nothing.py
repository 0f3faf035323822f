"""R16: the clocks of a router and an agent jump an hour forth and back while they work, as bad time servers do it.

No link ends, nothing is over too early or too late, and nothing took less than no time.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from figures import LONG, Figures

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, eventually

FAKE_CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
pytestmark = pytest.mark.skipif(not FAKE_CLOCK.exists(), reason="needs faketime")

SCALE = 10.0 if LONG else 1.0
TIMEOUT_SECONDS = 2.5 * SCALE
IDLE_SECONDS = 3.0 * SCALE
TTL_SECONDS = 3.5 * SCALE
ORPHAN_SECONDS = 2.0 * SCALE
LATE_SECONDS = 3.0
GOES_LATE_SECONDS = TTL_SECONDS / 10 + LATE_SECONDS
"""An agent looks ten times in a time to live which jobs are to go, and eight times in an idle timeout who is idle."""
STOPPED_LATE_SECONDS = IDLE_SECONDS / 8 + LATE_SECONDS
ROOM = 3
PING = "links.ping_interval=2"
BUSY = ["sh", "-c", "while sleep 0.1; do echo busy; done"]
IDLE = ["sleep", "1000"]
AT_PYTHONS_START = """
import os, select, time
os.environ.pop("LD_PRELOAD", None)
time.sleep = lambda seconds: select.select((), (), (), seconds)
"""
"""What the daemons start has the clock of the machine, which is so much the worse; a sleep until some moment, which is
what Python asks for, fails under the preloaded library alone."""


class Clock:
    """What the daemons see; time that only goes forward is left alone."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        (place / "sitecustomize.py").write_text(AT_PYTHONS_START)
        self._place = place / "shift"
        self.set(0)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join((str(self._place.parent), os.environ.get("PYTHONPATH", ""))).rstrip(
                os.pathsep
            ),
            "LD_PRELOAD": str(FAKE_CLOCK),
            "FAKETIME_TIMESTAMP_FILE": str(self._place),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        fresh = self._place.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}")
        fresh.replace(self._place)

    async def jump(self, until: asyncio.Event) -> None:
        """Forth and back, again and again."""
        while not until.is_set():
            for seconds in (3600, -3600, 0):
                self.set(seconds)
                await asyncio.sleep(0.3)


async def started(client: Client, agent: AgentDaemon, args: list[str], **how: object) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "job")
    await job.start(args, port_expected_count=0, **how)
    return job


async def lasts(client: Client, agent: AgentDaemon, args: list[str], least: float, reason: str, **how: object) -> float:
    """A job from its start to its end: how much later that came than it should have. It must not be earlier."""
    begun = time.monotonic()
    job = await started(client, agent, args, **how)
    info = (await job.wait()).info
    late = time.monotonic() - begun - least
    assert late >= -0.1, f"the end of {args}, {reason}, came {-late:.1f} s too early"
    assert info["reason"] == reason, info
    assert info["created_at"] <= info["started_at"] <= info["finished_at"], info
    return late


async def is_kept(client: Client, agent: AgentDaemon) -> float:
    """The same for how long a finished job is kept."""
    job = await started(client, agent, ["true"])
    await job.wait()
    finished = time.monotonic()
    await eventually(
        lambda: is_gone(client, job), seconds=TTL_SECONDS + ROOM * GOES_LATE_SECONDS, what="an old job's removal"
    )
    late = time.monotonic() - finished - TTL_SECONDS
    assert late >= -1.0, f"a finished job went {-late:.1f} s too early"  # its end was told a little later
    return late


async def test_clocks_that_jump_change_nothing(fleet: Fleet, figures: Figures, tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    router = fleet.router(PING, environ=clock.environ)
    agent = fleet.agent(
        router,
        PING,
        f"jobs.idle_timeout={IDLE_SECONDS}",
        f"jobs.finished_ttl={TTL_SECONDS}",
        f"jobs.orphan_timeout={ORPHAN_SECONDS}",
        environ=clock.environ,
    )
    await router.agent_is_there(agent)
    over = asyncio.Event()
    jumps = asyncio.create_task(clock.jump(over))
    try:
        async with router.client() as client:
            busy = await started(client, agent, BUSY)
            timed_late, stopped_late, goes_late = await asyncio.gather(
                lasts(client, agent, BUSY, TIMEOUT_SECONDS, "timeout", timeout=TIMEOUT_SECONDS),
                lasts(client, agent, IDLE, IDLE_SECONDS, "stopped"),
                is_kept(client, agent),
            )
            info = (await busy.refresh()).info
            assert info["state"] == "RUNNING", info
            assert info["created_at"] <= info["started_at"], info
        connects = router.log.count("is connected,"), agent.log.count("linked to router")
        router.kill()
        begun = time.monotonic()
        pid = int(busy.info["pid"])
        await eventually(lambda: not alive(pid), seconds=ORPHAN_SECONDS + ROOM * LATE_SECONDS, what="the orphan's end")
        orphan_late = time.monotonic() - begun - ORPHAN_SECONDS
        assert orphan_late >= -0.1, "the orphan timeout came too early"
    finally:
        over.set()
        await jumps
    figures.record("R16", "disconnects while clocks jump", sum(connects) - 2, goal=0, holds=connects == (1, 1))
    for what, seconds, goal in (
        ("latest end of a timeout", max(timed_late, orphan_late), LATE_SECONDS),
        ("an idle job is stopped late by", stopped_late, STOPPED_LATE_SECONDS),
        ("a finished job goes late by", goes_late, GOES_LATE_SECONDS),
    ):
        figures.record("R16", what, max(seconds, 0.0), goal=goal, unit="s")
    assert connects == (1, 1), "a link was lost"


async def is_gone(client: Client, job: Job) -> bool:
    return job.info["uid"] not in [found.info["uid"] for found in await client.jobs()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

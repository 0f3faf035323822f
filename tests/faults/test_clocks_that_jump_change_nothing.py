"""R16: the clocks of a router, an agent, its keeper and guardians jump an hour forth and back while they work, as bad
time servers do it.

No link ends, nothing is over too early or too late, and nothing took less than no time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from figures import LONG, Figures

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

FAKE_CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
SHARED = Path("/dev/shm")
pytestmark = [pytest.mark.skipif(not FAKE_CLOCK.exists(), reason="needs faketime"), pytest.mark.timeout(300)]

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
PING = f"links.ping_interval={5 if LONG else 2}"
"""As shipped, where there is time for it."""
BUSY = ["sh", "-c", "while sleep 0.1; do echo busy; done"]
IDLE = ["sleep", "1000"]
AT_PYTHONS_START = """
import os, select, subprocess, time
SLEEPS = "import select, time; time.sleep = lambda seconds: select.select((), (), (), seconds)"
LIBRARY = os.environ.pop("LD_PRELOAD", None)
exec(SLEEPS)
begins = subprocess.Popen.__init__
def begin(self, args, **how):
    if "held.keeper" in str(args) and LIBRARY:
        args = [SLEEPS + word if "held.keeper" in word else word for word in args]
        how["env"] = os.environ | {"LD_PRELOAD": LIBRARY}
    begins(self, args, **how)
subprocess.Popen.__init__ = begin
"""
"""The keeper and its guardians see the same clock as the agent that starts them; jobs have that of the machine. A sleep
until some moment, which is what Python asks for, fails under the preloaded library alone."""


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


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    """What the library leaves behind of each process that was killed is not left."""
    before = set(SHARED.glob("*faketime*"))
    yield Clock(tmp_path / "clock")
    for place in set(SHARED.glob("*faketime*")) - before:
        place.unlink(missing_ok=True)


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
    begun = time.monotonic()  # it may have ended long before that is told
    job = await started(client, agent, ["true"])
    await job.wait()
    finished = time.monotonic()
    await eventually(
        lambda: is_gone(client, job), seconds=TTL_SECONDS + ROOM * GOES_LATE_SECONDS, what="an old job's removal"
    )
    gone = time.monotonic()
    assert gone - begun >= TTL_SECONDS, f"a finished job went after {gone - begun:.1f} s"
    return gone - finished - TTL_SECONDS


async def is_left_alone(client: Client, agent: AgentDaemon) -> float:
    """The same for a job that survives its agent, when no other one comes: its guardian ends it."""
    job = await started(client, agent, BUSY)
    return await ends_alone(job, agent)


async def ends_alone(job: Job, without: RouterDaemon | AgentDaemon) -> float:
    """Nobody asks for it any more: how much later than the orphan timeout its end comes."""
    begun, pid = time.monotonic(), int(job.info["pid"])
    without.kill()
    await eventually(lambda: not alive(pid), seconds=ORPHAN_SECONDS + ROOM * LATE_SECONDS, what="the orphan's end")
    late = time.monotonic() - begun - ORPHAN_SECONDS
    assert late >= -0.1, "the orphan timeout came too early"
    return late


def guardian_and_keeper(job: Job) -> tuple[int, int]:
    guardian = parent(int(job.info["pid"]))
    return guardian, parent(guardian)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_clocks_that_jump_change_nothing(fleet: Fleet, figures: Figures, clock: Clock) -> None:
    router = fleet.router(PING, environ=clock.environ)
    agent = fleet.agent(
        router,
        PING,
        f"jobs.idle_timeout={IDLE_SECONDS}",
        f"jobs.finished_ttl={TTL_SECONDS}",
        f"jobs.orphan_timeout={ORPHAN_SECONDS}",
        environ=clock.environ,
    )
    survived = fleet.agent(
        router, PING, "jobs.survive_agent=True", f"jobs.orphan_timeout={ORPHAN_SECONDS}", environ=clock.environ
    )
    for each in (agent, survived):
        await router.agent_is_there(each)
    over = asyncio.Event()
    jumps = asyncio.create_task(clock.jump(over))
    try:
        async with router.client() as client:
            busy = await started(client, agent, BUSY)
            assert all("libfaketime" in Path(f"/proc/{pid}/maps").read_text() for pid in guardian_and_keeper(busy))
            timed_late, stopped_late, goes_late, alone_late = await asyncio.gather(
                lasts(client, agent, BUSY, TIMEOUT_SECONDS, "timeout", timeout=TIMEOUT_SECONDS),
                lasts(client, agent, IDLE, IDLE_SECONDS, "stopped"),
                is_kept(client, agent),
                is_left_alone(client, survived),
            )
            info = (await busy.refresh()).info
            assert info["state"] == "RUNNING", info
            assert info["created_at"] <= info["started_at"], info
        connects = router.log.count("is connected,"), agent.log.count("linked to router")
        orphan_late = await ends_alone(busy, router)
    finally:
        over.set()
        await jumps
    figures.record("R16", "disconnects while clocks jump", sum(connects) - 3, goal=0, holds=connects == (2, 1))
    for what, seconds, goal in (
        ("latest end of a timeout", max(timed_late, orphan_late), LATE_SECONDS),
        ("latest end of a job whose agent does not come back", alone_late, LATE_SECONDS),
        ("an idle job is stopped late by", stopped_late, STOPPED_LATE_SECONDS),
        ("a finished job goes late by", goes_late, GOES_LATE_SECONDS),
    ):
        figures.record("R16", what, max(seconds, 0.0), goal=goal, unit="s")
    assert connects == (2, 1), "a link was lost"


async def is_gone(client: Client, job: Job) -> bool:
    return job.info["uid"] not in [found.info["uid"] for found in await client.jobs()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

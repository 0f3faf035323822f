"""R6: who dies in the middle of a start, at whatever point, leaves no process, no cgroup and no caller without answer.

The points are all that a guardian does between its fork and its word that the program runs, and all that the main
process does before its exec. Others' jobs go on, and the next start works.
"""

from __future__ import annotations

import os
import secrets
import signal

import pytest
from figures import LONG, Figures
from held_trees import CGROUPS, GONE_SECONDS, Nest, is_there, marked, seconds_until_gone
from stumbling import FromACopy, Stumbling

from prouter.client import Job, RequestFailed
from prouter.testing import Fleet, eventually

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(900 if LONG else 120)]

POINTS = 1000 if LONG else 5
"""Of each kind, spread over all."""
SCRIPT = "sleep $0 & setsid sleep $0 & exec sleep $0"


class Starts:
    """Starts that go wrong at a chosen point."""

    def __init__(self, nest: Nest, stumbling: Stumbling) -> None:
        self.nest, self.stumbling = nest, stumbling
        self.slowest = 0.0

    async def points(self, role: str) -> list[int]:
        """Those to try."""
        self.stumbling.plan(listen=role)
        job, _, _ = await self.start()
        async with self.nest.router.client() as client:
            await client.request("POST", f"{job.path}/remove")
        found = self.stumbling.points()
        names = [event for event, _ in found]
        last = names.index("os.rename" if role == "guardian" else "os.exec")  # guardian.json; then the program runs
        count = min(last + 1, POINTS)
        return sorted({round(number * last / max(count - 1, 1)) for number in range(count)})

    async def start(self) -> tuple[Job, str, RequestFailed | None]:
        """The job, its mark, and how the start failed, if it did."""
        mark = f"7{secrets.randbelow(10**12):012}"
        failed = None
        async with self.nest.router.client() as client:
            job = await client.create({"type": "uid", "uid": self.nest.agent.uid}, "starting")
            try:
                await job.start(["sh", "-c", SCRIPT, mark], port_expected_count=0)
            except RequestFailed as error:
                failed = error
        return job, mark, failed

    async def goes_wrong(self, role: str, at: int, *kill: str) -> None:
        """All that is promised of one start."""
        self.stumbling.plan(role=role, at=at, kill=kill)
        job, mark, failed = await self.start()
        await self.stumbling.happened(f"{role} {at}")
        if "agent" in kill:
            self.nest.agent.process.wait()
        if "keeper" not in kill or "agent" not in kill:  # else nobody is there before the next boot
            self.slowest = max(self.slowest, await seconds_until_gone(mark))
        if "agent" in kill:
            self.nest.agent.start()
            await self.nest.router.agent_is_there(self.nest.agent)
        elif failed is not None:
            assert "A plugin failed" not in str(failed), failed
        async with self.nest.router.client() as client:
            info = await client.request("POST", f"{job.path}/wait", timeout=20)
            assert info["state"] == "FINISHED"
            assert info["reason"] in ("start-failed", "agent-lost"), info
            assert info["exit_code"] in (None, -signal.SIGKILL)
            await client.request("POST", f"{job.path}/remove")
        assert not marked(mark)
        assert not (self.nest.agent.jobs / job.info["uid"]).exists()
        await eventually(lambda: not groups(job.info["uid"]), what="the end of the job's groups")


def groups(uid: str) -> list[str]:
    """Of version 1 and 2, wherever they are mounted."""
    looked = os.walk("/sys/fs/cgroup")  # others' groups go meanwhile, which it does not mind
    return [where for where, _, _ in looked if where.endswith(f"/prouter-job-{uid}")]


def stumbling_starts(fleet: Fleet, cgroups: str) -> Starts:
    stumbling = Stumbling(fleet.place)
    return Starts(Nest(fleet, cgroups, plugins=(FromACopy,), environ=stumbling.environ), stumbling)


@pytest.mark.parametrize("cgroups", CGROUPS)
async def test_the_guardian_dies_amid_a_start(fleet: Fleet, figures: Figures, cgroups: str) -> None:
    """Alone, and together with the keeper; the job beside it goes on, and so do starts."""
    starts = stumbling_starts(fleet, cgroups)
    beside = await starts.nest.plain()
    for role in ("guardian", "main"):
        for number, at in enumerate(await starts.points(role)):
            if LONG or number % 2 == 0:
                await starts.goes_wrong(role, at, "guardian")
            if LONG or number % 2:
                await starts.goes_wrong(role, at, "keeper", "guardian")
    assert is_there(beside.main)
    assert (await starts.start())[2] is None
    holds = starts.slowest <= GONE_SECONDS
    name = f"guardian, or keeper too, killed amid a start: longest until the tree was gone ({cgroups})"
    figures.record("R6", name, starts.slowest, goal=GONE_SECONDS, unit="s", holds=holds)


@pytest.mark.parametrize("cgroups", CGROUPS[-1:])
async def test_the_agent_dies_amid_a_start(fleet: Fleet, figures: Figures, cgroups: str) -> None:
    """Alone, and all three at once: the next boot sweeps."""
    starts = stumbling_starts(fleet, cgroups)
    await starts.nest.router.agent_is_there(starts.nest.agent)
    points = await starts.points("guardian")
    for at in points if LONG else points[3:4]:
        await starts.goes_wrong("guardian", at, "agent")
    for at in points if LONG else points[4:]:
        await starts.goes_wrong("guardian", at, "keeper", "agent", "guardian")
    holds = starts.slowest <= GONE_SECONDS
    name = "agent killed amid a start: longest until the tree was gone"
    figures.record("R6", name, starts.slowest, goal=GONE_SECONDS, unit="s", holds=holds)

"""R20: jobs come and go, files and Websockets pass, every few seconds something breaks; afterwards all is as before.

PROUTER_SOAK_SECONDS says for how long. Router and agents are killed and restarted in the first half only: in the second
all is broken that leaves their processes, whose memory must stay what it is. Hours tell a leak of a kilobyte for each
job from what a process has anyhow; two minutes tell one of a hundredth of what is moved, or of 50 KiB for each job.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from callers import Calls
from figures import LONG, Figures
from inside import AgentInside, RouterInside
from proxied import new_job
from soaked import Samples, counted, more_than, zombies_of
from soaking import Faults, Load

from prouter.testing import Daemon, Fleet, eventually
from prouter.testing.network import BrokenNetwork

SECONDS = float(os.environ.get("PROUTER_SOAK_SECONDS", 3600 if LONG else 120))
FAULT_SECONDS = min(20.0, SECONDS / 12)
LEAST_FAULTS = int(SECONDS / FAULT_SECONDS / 3)
"""Each takes some time itself."""
WARM_SECONDS = min(60.0, SECONDS / 10)
SAME = 2
"""What may differ of each count."""
GROWTH_PERCENT, GROWTH_MIB_AN_HOUR = 2.0, 1.0
"""In the second half: one of both."""
GROWTH_MIB = 8.0
"""The same, whatever there is besides."""

QUICK = ("links.ping_interval=0.5",)
AGENTS = ("client.reconnect_delay=0.2", *QUICK)
ECHO = "sockets.py"

pytestmark = pytest.mark.timeout(SECONDS * 3 + 240)


async def test_a_fleet_is_as_before_after_a_soak(fleet: Fleet, figures: Figures, pytestconfig: pytest.Config) -> None:
    fleet.expected_errors += ["the keeper of processes ended", "unfinished when the agent ended"]
    router = fleet.router("pipes.idle_seconds=1", "shutdown.drain_timeout=1", *QUICK, plugins=[RouterInside])
    router.stay_put("server", "control")
    near = fleet.agent(router, *AGENTS, plugins=[AgentInside])
    async with BrokenNetwork(router.address("server")) as line:
        far = fleet.agent(router, *AGENTS, f"client.address={line.authority}", plugins=[AgentInside])
        daemons = (router, near, far)
        for agent in (near, far):
            await router.agent_is_there(agent)
        steady = await asyncio.to_thread(new_job, router, far, "", ECHO)  # its answer comes over the line here
        quick = aiohttp.TCPConnector(limit=0, keepalive_timeout=0.5)
        async with aiohttp.ClientSession(connector=quick, timeout=aiohttp.ClientTimeout(total=None)) as session:
            load = Load(Calls(session, router.url()), (near, far), steady)
            samples = Samples(daemons, pytestconfig.rootpath / "out" / "soak.json")
            faults = Faults(router, near, far, line)
            async with load.under_way():
                await eventually(lambda: load.done > 0 and load.echoed > 0, what="the first of everything")
                await pause(WARM_SECONDS)
            before = await at_rest(daemons, fleet.tag)
            begun, done = time.monotonic(), load.done
            async with samples.taken(min(10.0, SECONDS / 100)), load.under_way():
                await faults.befall(faults.hard, FAULT_SECONDS, begun + SECONDS / 2)
                await faults.befall(faults.mild, FAULT_SECONDS, begun + SECONDS)
                for agent in (near, far):
                    await router.agent_is_there(agent)
            rate = (load.done - done) / (time.monotonic() - begun)
            assert not load.calls.broken, load.calls.broken[:10]

            async def as_before() -> bool:
                grown = more_than(before, await counted(daemons, fleet.tag), SAME)
                assert not grown, f"not as before: {grown}"
                return True

            await eventually(as_before, seconds=40, what="what was there before")
            assert [job["uid"] for job in (await jobs_of(session, router.url()))] == [steady.info["uid"]]
    zombies = zombies_of(fleet.tag)
    growths = {daemon.place.name: samples.growth_percent(daemon) for daemon in daemons}
    slopes = {daemon.place.name: samples.slope_mib_an_hour(daemon) for daemon in daemons}
    told: dict[str, Any] = {"seconds": SECONDS, "jobs": load.done, "bytes": load.moved, "messages": load.echoed}
    told |= {"form": "long" if LONG else "short", "growth_percent": growths, "slope_mib_an_hour": slopes}
    samples.write(faults.happened, **told)
    figures.record("R20", "counts that are not as before a soak", 0, goal=0, holds=True)
    figures.record("R20", "processes that nobody waited for", len(zombies), goal=0)
    assert zombies == []
    figures.record("R20", "jobs that came and went", rate, unit="jobs/s")
    happened = len(faults.happened)
    figures.record("R20", "faults", happened, goal=f">= {LEAST_FAULTS}", holds=happened >= LEAST_FAULTS)
    kinds, seen = faults.kinds
    figures.record("R20", "kinds of faults", seen, goal=f">= {kinds}", holds=seen == kinds)
    assert seen == kinds
    for daemon in daemons:
        name = "router" if daemon is router else "killed agent" if daemon is near else "agent"
        grown, slope = growths[daemon.place.name], slopes[daemon.place.name]
        flat = grown <= GROWTH_PERCENT or slope <= GROWTH_MIB_AN_HOUR
        what = f"{name}: growth of its memory in the second half"
        figures.record("R20", what, grown, goal=GROWTH_PERCENT, unit="%", holds=flat)
        hourly = {"goal": GROWTH_MIB_AN_HOUR, "holds": flat} if LONG else {}
        figures.record("R20", f"{name}: slope of its memory in the second half", slope, unit="MiB/h", **hourly)
        assert flat or not LONG, (growths, slopes)
        assert samples.growth_mib(daemon) <= GROWTH_MIB, (growths, slopes)


async def pause(seconds: float) -> None:
    """In which load runs and nothing breaks."""
    await asyncio.sleep(seconds)


async def at_rest(daemons: Sequence[Daemon], tag: str) -> dict[str, int]:
    """What is there when nothing is asked any more: once it is the same for a while."""
    last: dict[str, int] = {}

    async def same() -> dict[str, int]:
        nonlocal last
        was, last = last, await counted(daemons, tag)
        await asyncio.sleep(1.5)
        return last if last == was else {}

    found: dict[str, int] = await eventually(same, seconds=40, what="a fleet at rest")
    return found


async def jobs_of(session: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    async with session.get(f"{url}/jobs") as answer:
        found: list[dict[str, Any]] = (await answer.json())["jobs"]
        return found

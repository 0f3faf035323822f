"""R15: a tenth of a processor under a bulk transfer is slow, and nobody takes it for dead: pings go ahead of data."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from figures import LONG, Figures
from proxied import new_job
from silences import AgentSilences, RouterSilences, longest_silence
from test_a_bulk_transfer_starves_nobody import JOB, Bulk

from prouter.testing import Fleet

CPU = Path("/sys/fs/cgroup/cpu")
SECONDS = 600.0 if LONG else 5.0
PERIOD_MICROSECONDS = 100_000
INTERVAL_SECONDS = 5.0 if LONG else 1.0
MISSED = 200.0
"""Percent of that: after one interval of silence a ping is sent, and after another its answer did not come in time."""
RATE = 100

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        os.geteuid() != 0 or (not (CPU / "cpu.cfs_quota_us").exists() and not os.access(CPU, os.W_OK)),
        reason="needs root and the cpu controller of cgroups v1",
    ),
]


@contextlib.contextmanager
def starved(*pids: int, part: float = 0.1) -> Iterator[None]:
    """Each of them has so much of one processor."""
    made: list[Path] = []
    try:
        for pid in pids:
            group = CPU / f"prt-{os.getpid()}-{pid}"
            group.mkdir()
            made.append(group)
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
            (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD_MICROSECONDS * part)))
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in made:
            with contextlib.suppress(OSError):
                (CPU / "cgroup.procs").write_text((group / "cgroup.procs").read_text().split()[0])
        for group in made:
            with contextlib.suppress(OSError, IndexError):
                for pid in (group / "cgroup.procs").read_text().split():
                    (CPU / "cgroup.procs").write_text(pid)
            group.rmdir()


async def test_a_tenth_of_a_processor_under_bulk_transfers_loses_no_link(fleet: Fleet, figures: Figures) -> None:
    pings = f"links.ping_interval={INTERVAL_SECONDS}"
    router = fleet.router(pings, plugins=[RouterSilences])
    agent = fleet.agent(router, pings, plugins=[AgentSilences])
    await router.agent_is_there(agent)
    bulk = Bulk(await asyncio.to_thread(new_job, router, agent, "", JOB))
    lines = agent.log.count("linked to router")
    async with bulk.under_way("both"):
        with starved(router.pid, agent.pid):
            moved = bulk.moved
            await asyncio.sleep(SECONDS)  # the time in which nothing may happen
            rate = (bulk.moved - moved) / SECONDS / 1e6
    async with router.client() as client:
        assert [found["connected"] for found in await client.agents()] == [True]
    flaps = agent.log.count("linked to router") - lines
    figures.record("R15", "links lost with a tenth of a processor under load", flaps, goal=0, holds=flaps == 0)
    figures.record(
        "R15", "bulk transfers with a tenth of a processor", rate, goal=f">= {RATE}", unit="MB/s", holds=rate >= RATE
    )
    silence = max(longest_silence(daemon) for daemon in (router, agent)) / INTERVAL_SECONDS * 100
    figures.record("R15", "longest silence of a link, of the time between two pings", silence, goal=MISSED, unit="%")
    assert flaps == 0
    assert "disconnected" not in router.log
    assert bulk.moved > moved, "nothing was under way"
    assert silence < MISSED or not LONG, "a ping was not answered before the next one"

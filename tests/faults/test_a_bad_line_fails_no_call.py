"""R2, R10: over a line that delays each packet by 50 ms and loses one of a hundred, calls about jobs take longer.

What goes through pipes over such a line is in test_bytes_arrive_whole_or_not_at_all.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time

import pytest
from figures import LONG, Figures
from lossy_line import lossy_line
from namespaces import inside

from prouter.client import Client
from prouter.testing import AgentDaemon, Fleet, RouterDaemon

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]
JOBS = 200 if LONG else 12
SECONDS = 600.0 if LONG else 60.0


async def whole_life(client: Client, agent: AgentDaemon, number: int) -> None:
    job = await client.create({"type": "uid", "uid": agent.uid}, f"job {number}")
    await job.start(["sh", "-c", "sleep 0.1; exit 7"], port_expected_count=0)
    assert (await job.wait()).info["exit_code"] == 7
    await job.restart()
    await job.stop()
    await job.remove()


async def test_a_bad_line_fails_no_call_about_a_job(
    fleet: Fleet, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (RouterDaemon, AgentDaemon):
        monkeypatch.setattr(kind, "forks", False)  # or it would be where its parent is
    with lossy_line(delay_seconds=0.05, loss=0.01) as line:
        try:
            router = fleet.router(f"server.interface={line.near_address}", "links.ping_interval=1")
            with inside(line.far):
                agent = fleet.agent(router, "links.ping_interval=1")
            await router.agent_is_there(agent)
            begun = time.monotonic()
            async with asyncio.timeout(SECONDS), router.client() as client:
                await asyncio.gather(*(whole_life(client, agent, number) for number in range(JOBS)))
            took = time.monotonic() - begun
            links = agent.log.count("linked to router")
        finally:
            await asyncio.to_thread(fleet.close)
    figures.record("R2", f"the lives of {JOBS} jobs over a lossy line", took, unit="s")
    assert links == 1, "a line that only loses packets cuts nothing"

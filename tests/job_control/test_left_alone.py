"""An agent that no router asks for any more ends its jobs, and only then."""

from __future__ import annotations

import sys

from prouter.client import Job
from prouter.testing import eventually


async def test_jobs_without_any_router_for_too_long_end_as_orphaned(fleet) -> None:
    router = fleet.router("server.port=0")
    host, port = router.address("server")
    agent = fleet.agent(router, "jobs.orphan_timeout=1")
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await job.start([sys.executable, "-c", "import time; time.sleep(600)"], port_expected_count=0)
        assert job.info["state"] == "RUNNING"
    router.kill()
    await eventually(lambda: "orphaned" in agent.log, what="the end of the job")
    again = fleet.router(
        f"server.interface={host!r}",
        f"server.port={port}",
        environ={"PROUTER_SERVER__ACCEPT_TOKENS": f"[{router.agent_token!r}]"},
    )
    await again.agent_is_there(agent)
    async with again.client() as client:
        info = (await Job(client, job.info).refresh()).info
    assert (info["state"], info["reason"]) == ("FINISHED", "orphaned")

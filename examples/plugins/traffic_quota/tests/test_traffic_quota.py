"""A live job behind a small quota."""

from __future__ import annotations

import sys

import pytest
from prouter_traffic_quota import TrafficQuota

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentHere, RouterHere, Setup, eventually

SERVE = """
import http.server, os
class Long(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2000")
        self.end_headers()
        self.wfile.write(b"x" * 2000)
    def log_message(self, *_): ...
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Long).serve_forever()
"""


@pytest.fixture
def prouter_setup() -> Setup:
    settings = ["jobs.activity_interval=0.05"]
    return Setup(
        plugins={"traffic_quota": TrafficQuota}, settings=["traffic_quota.job_bytes=1000"], agent_settings=settings
    )


async def serving(client: Client, agent: AgentHere) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "job")
    return await job.start([sys.executable, "-c", SERVE], port={"mode": "assign"})


async def get(client: Client, job: Job) -> tuple[int, str]:
    async with client.session.get(job.url()) as answer:
        return answer.status, await answer.text()


async def test_a_job_over_its_quota_gets_no_more_requests_and_no_bridges(router: RouterHere, agent: AgentHere) -> None:
    async with router.client() as client:
        job, other = await serving(client, agent), await serving(client, agent)
        assert (await get(client, job))[0] == 200

        async def refused() -> bool:
            return (await get(client, job))[0] == 429

        await eventually(refused)
        assert "its quota is 1000" in (await get(client, job))[1]
        with pytest.raises(RequestFailed, match="its quota is 1000") as bridge:
            await client.request("POST", f"{job.path}/wsconnect/x", {"url": "ws://127.0.0.1:9/"})
        assert bridge.value.http_status == 403
        assert (await get(client, other))[0] == 200


async def test_a_job_that_is_gone_is_forgotten(router: RouterHere, agent: AgentHere) -> None:
    plugin = router.plugin("traffic_quota")
    async with router.client() as client:
        job = await serving(client, agent)
        await get(client, job)
        await eventually(lambda: plugin._used)
        await job.remove()
        await eventually(lambda: not plugin._used)

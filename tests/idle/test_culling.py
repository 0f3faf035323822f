"""Jobs that do nothing are stopped, where the agent is told so; whatever a job does keeps it alive."""

from __future__ import annotations

import asyncio
import re
import sys
import time

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, eventually
from prouter.testing.fleet import serving_job

IDLE_SECONDS = 2.0
SOON = f"jobs.idle_timeout={IDLE_SECONDS}"

SLEEPS = "import time; time.sleep(600)"
SERVES = """
import http.server, os
class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Quiet).serve_forever()
"""
BUSY = {
    "output": "import time\nwhile True:\n    print('.', flush=True)\n    time.sleep(0.3)",
    "cpu": "while True: pass",
    "cpu of a child": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while True: pass'])",
}


async def running(client: Client, agent: AgentDaemon, program: str, name: str = "job") -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, name)
    return await job.start([sys.executable, "-c", program], port_expected_count=0)


async def test_only_a_job_that_does_nothing_is_stopped(fleet) -> None:
    router, agent = await fleet.pair(SOON)
    async with router.client() as client:
        busy = {name: await running(client, agent, program, name) for name, program in BUSY.items()}
        asked = await serving_job(client, agent, SERVES)
        began = time.monotonic()
        idle = await running(client, agent, SLEEPS)
        waiting = asyncio.create_task(idle.wait(60))
        while not waiting.done() or time.monotonic() < began + 3 * IDLE_SECONDS:
            async with client.session.get(asked.url()) as answer:
                assert answer.status == 204
            await asyncio.sleep(0.2)
        ended = (await waiting).info
        assert (ended["state"], ended["reason"], ended["exit_code"]) == ("FINISHED", "stopped", -15)
        assert re.search(rf"job {ended['uid']} is stopped: idle for \d+\.\d seconds", agent.log)
        for name, job in (busy | {"traffic": asked}).items():
            assert (await job.refresh()).info["state"] == "RUNNING", name
        quiet = await asked.wait(60)  # nobody asks it any more
        assert quiet.info["reason"] == "stopped"


async def test_an_idle_job_that_ignores_the_signal_is_killed_after_the_grace(fleet) -> None:
    router, agent = await fleet.pair("jobs.idle_timeout=1", "jobs.stop_grace=0.5")
    async with router.client() as client:
        deaf = await running(client, agent, f"import signal; signal.signal(15, signal.SIG_IGN)\n{SLEEPS}")
        ended = (await deaf.wait(60)).info
        assert (ended["reason"], ended["exit_code"]) == ("stopped", -9)


async def test_an_open_connection_that_carries_nothing_keeps_no_job_alive(fleet) -> None:
    router, agent = await fleet.pair("jobs.activity_interval=0.1", "jobs.idle_timeout=1")
    async with router.client() as client:
        job = await serving_job(
            client, agent, SERVES.replace("self.send_response(204)", "import time; time.sleep(600)")
        )
        hanging = asyncio.create_task(client.session.get(job.url()))

        async def connected() -> bool:
            return (await job.refresh()).info["activity"]["connections"] == 1

        await eventually(connected)
        assert (await job.wait(60)).info["reason"] == "stopped"
        assert (await hanging).status == 502


async def test_no_job_is_stopped_unless_the_agent_is_told_so(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await running(client, agent, SLEEPS)
        assert (await job.wait(3)).info["state"] == "RUNNING"


async def test_without_the_plugin_its_setting_is_unknown_and_the_agent_works(fleet) -> None:
    said = fleet.refused("agent", "--no-plugin", "idle_culling", "--set", "jobs.idle_timeout=1")
    assert "jobs.idle_timeout: there is no such parameter" in said
    router, agent = await fleet.pair('plugins.disabled=["idle_culling"]')
    async with router.client() as client:
        assert (await running(client, agent, SLEEPS)).info["state"] == "RUNNING"

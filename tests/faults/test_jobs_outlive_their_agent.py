"""R5: with `jobs.survive_agent` a killed, ended or upgraded agent loses no job, and none of its jobs loses anything."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from figures import LONG, Figures

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

JOBS = 20
ROUNDS = 20 if LONG else 2
COUNTS = "i=0; while ! test -e go; do echo $i; i=$((i+1)); sleep 0.02; done; echo end $i; exit 7"
SERVES = """
import http.server, os, pathlib, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 0))), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("serving", server.server_port, flush=True)
while not pathlib.Path("go").exists(): time.sleep(0.05)
os._exit(7)
"""


def survivor(fleet: Fleet, router: RouterDaemon, *settings: str) -> AgentDaemon:
    fleet.expected_errors += ["unfinished when the agent ended"]
    return fleet.agent(router, "jobs.survive_agent=True", "client.reconnect_delay=0.2", *settings)


async def job_of(client: Client, agent: AgentDaemon, args: list[str], **start: Any) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "survivor")
    await job.start(args, **({"port_expected_count": 0} | start))
    return job


def is_counted(output: bytes) -> int:
    """How far; nothing is missing, and nothing comes twice."""
    lines = output.decode().splitlines()
    numbers = [line for line in lines if not line.startswith("end")]
    assert numbers == [str(number) for number in range(len(numbers))]
    return len(numbers)


async def test_a_killed_or_ended_agent_loses_none_of_twenty_jobs(fleet: Fleet, figures: Figures) -> None:
    router = fleet.router()
    agent = survivor(fleet, router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        counting = [job_of(client, agent, ["/bin/sh", "-c", COUNTS]) for _ in range(JOBS - 2)]
        serves = [sys.executable, "-c", SERVES]
        serving = [job_of(client, agent, serves, port={"mode": mode}) for mode in ("assign", "detect")]
        jobs = list(await asyncio.gather(*counting, *serving))
        pids = [job.info["pid"] for job in jobs]
        ends = [asyncio.create_task(job.wait(60)) for job in jobs]
        for number in range(ROUNDS):
            if number % 2:
                assert agent.stop() == 0
            else:
                agent.kill()
            agent.start()
            await router.agent_is_there(agent)
            found = [await job.refresh() for job in jobs]
            assert [(job.info["state"], job.info["pid"]) for job in found] == [("RUNNING", pid) for pid in pids]
            for job in jobs[-2:]:
                async with client.session.get(job.url("/")) as answer:
                    assert (answer.status, await answer.text()) == (200, "ok")
        agent.kill()
        for job in jobs[:4]:  # they end while nobody is there
            (agent.sandbox(job) / "go").touch()
            await eventually(lambda job=job: (agent.jobs / job.info["uid"] / "exit.json").exists(), what="the end")
        agent.start()
        for job in jobs[4:]:
            (agent.sandbox(job) / "go").touch()
        ended = await asyncio.gather(*ends)
        assert [(job.info["reason"], job.info["exit_code"]) for job in ended] == [("exited", 7)] * JOBS
        for job in jobs[:-2]:
            output = b"".join([chunk async for chunk in job.output()])
            assert output.decode().splitlines()[-1] == f"end {is_counted(output)}"
        figures.record("R5", "jobs adopted by the next agent", len(ended), goal=JOBS, unit="jobs", holds=True)

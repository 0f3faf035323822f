"""R5: with `jobs.survive_agent` a killed, ended or upgraded agent loses no job, and none of its jobs loses anything."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import pytest
from figures import LONG, Figures

from prouter.agent.guard import choice
from prouter.agent.guard.adoption import Survival
from prouter.client import Client, Job
from prouter.errors import ConfigError
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

JOBS = 20
ROUNDS = 200 if LONG else 2
KILLS = 200 if LONG else 1
"""Of an agent that ends its jobs with itself."""
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
        ends = [asyncio.create_task(job.wait()) for job in jobs]
        lost: set[str] = set()

        def none_is_lost() -> None:
            figures.record("R5", f"jobs that were not adopted, of {JOBS}", len(lost), goal=0)
            assert not lost, [job.info for job in jobs if job.info["uid"] in lost]

        for number in range(ROUNDS):
            if number % 2:
                assert agent.stop() == 0
            else:
                agent.kill()
            agent.start()
            await router.agent_is_there(agent)
            for job, pid in zip(jobs, pids, strict=True):
                info = (await job.refresh()).info
                if (info["state"], info["pid"]) != ("RUNNING", pid):
                    lost.add(info["uid"])
            none_is_lost()
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
        assert len(ended) == JOBS
        lost |= {job.info["uid"] for job in ended if (job.info["reason"], job.info["exit_code"]) != ("exited", 7)}
        none_is_lost()
        for job in jobs[:-2]:
            output = b"".join([chunk async for chunk in job.output()])
            assert output.decode().splitlines()[-1] == f"end {is_counted(output)}"
        figures.record("R5", "agents that were killed or ended, and started again", ROUNDS)


REPORTS = """
import http.server, os, pathlib, threading, time, urllib.error, urllib.request
open("up", "w").close()
while not pathlib.Path("serve").exists(): time.sleep(0.05)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
where = f"{os.environ['DA__PAGENT__JOB_ENDPOINT']}?job_id={os.environ['DA__PAGENT__JOB_ID']}&port={server.server_port}"
while True:
    try:
        urllib.request.urlopen(where).read()
        break
    except urllib.error.URLError:
        time.sleep(0.05)
time.sleep(600)
"""
WAITS_THEN_SERVES = """
import http.server, os, pathlib, time
open("up", "w").close()
while not pathlib.Path("serve").exists(): time.sleep(0.05)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.mark.parametrize("end", ["killed", "told to end"])
async def test_starts_and_stops_under_way_go_on_with_the_next_agent(fleet: Fleet, end: str) -> None:
    """A port that was picked stays picked, one is reported to where it was to be, and a stop's grace is kept."""
    router = fleet.router()
    agent = survivor(fleet, router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        reports, assigned, new = [
            await client.create({"type": "uid", "uid": agent.uid}, name) for name in ("report", "assign", "new")
        ]
        await new.mkdir("kept")
        stubborn = await job_of(client, agent, ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
        calls = [
            asyncio.create_task(asked_again(client, reports, REPORTS, {"mode": "report"})),
            asyncio.create_task(asked_again(client, assigned, WAITS_THEN_SERVES, {"mode": "assign"})),
        ]
        stop = asyncio.create_task(client.request("POST", f"{stubborn.path}/stop", {"signal": "TERM", "grace": 1.5}))
        for job in (reports, assigned):
            await eventually((agent.sandbox(job) / "up").exists, what="the program")
        record = agent.jobs / stubborn.info["uid"] / "record.json"
        await eventually(lambda: json.loads(record.read_text())["stopping"], what="the stop on disk")
        if end == "killed":
            agent.kill()
        else:
            assert agent.stop() == 0
        agent.start()
        await router.agent_is_there(agent)
        await reports.refresh()
        assert reports.info["state"] == "PENDING"
        for job in (reports, assigned):
            (agent.sandbox(job) / "serve").touch()
        for job, call in zip((reports, assigned), calls, strict=True):
            assert (await call)["state"] == "RUNNING"
            async with client.session.get(job.url("/")) as answer:
                assert answer.status == 200
        await stubborn.wait(20)
        assert (stubborn.info["reason"], stubborn.info["exit_code"]) == ("stopped", -9)
        await asyncio.gather(stop, return_exceptions=True)
        await new.refresh()
        assert new.info["state"] == "NEW"
        await job_of_new(new)


async def job_of_new(job: Job) -> None:
    await job.start(["/bin/sh", "-c", "cd kept"], port_expected_count=0)
    await job.wait(20)
    assert job.info["exit_code"] == 0


async def asked_again(client: Client, job: Job, program: str, port: dict[str, Any]) -> dict[str, Any]:
    """A start, asked for with the same key until it is answered: it is begun once."""
    body = {"args": [sys.executable, "-c", program], "port": port}
    while True:
        async with client.session.post(
            client.url + job.path + "/start", json=body, headers={"Idempotency-Key": "once"}
        ) as answer:
            found: dict[str, Any] = await answer.json()
            if answer.status < 500:
                return found
        await asyncio.sleep(0.1)


KNOCKS = """
import socket, time
knocks = socket.socket(socket.AF_UNIX)
knocks.connect("../g.sock")
try:
    knocks.send(b'{"op": "kill", "reason": "stopped"}\\n')
    heard = knocks.recv(99)
except OSError:
    heard = b""
print("heard", heard, flush=True)
time.sleep(600)
"""


async def test_what_was_promised_to_a_job_holds_without_an_agent(fleet: Fleet) -> None:
    """Timeouts and limits are kept, nobody waits for ever, and no job's process speaks with a guardian."""
    router = fleet.router()
    agent = survivor(fleet, router, "jobs.orphan_timeout=4")
    await router.agent_is_there(agent)
    async with router.client() as client:
        timed = await job_of(client, agent, ["sleep", "600"], timeout=1.0)
        greedy = await job_of(
            client,
            agent,
            ["/bin/sh", "-c", "sleep 1; for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; wait"],
            limits={"processes": 5},
        )
        alone = await job_of(client, agent, [sys.executable, "-c", KNOCKS])
        held = agent.jobs / alone.info["uid"]
        assert ((held / "g.sock").stat().st_mode & 0o777, held.stat().st_mode & 0o777) == (0o600, 0o700)
        agent.kill()
        for job in (timed, greedy, alone):
            await eventually(lambda job=job: (agent.jobs / job.info["uid"] / "exit.json").exists(), what="the end")
        agent.start()
        await router.agent_is_there(agent)
        for job in (timed, greedy, alone):
            await job.wait(20)
        assert [job.info["reason"] for job in (timed, greedy, alone)] == ["timeout", "limit", "orphaned"]
        assert await alone.read(".pagent.stdout") == b"heard b''\n", "a process of the job is nobody to listen to"
        assert agent.sandbox(alone).exists()


async def test_an_agent_without_the_setting_ends_what_outlived_another(fleet: Fleet, figures: Figures) -> None:
    """And without it nothing is left 2 s after a SIGKILL: no process, and no sandbox after the restart."""
    router = fleet.router("links.ping_interval=0.5")
    agent = survivor(fleet, router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        old = await job_of(client, agent, ["sleep", "600"])
        agent.kill()
        agent._arguments = [word.replace("survive_agent=True", "survive_agent=False") for word in agent._arguments]
        agent.start()
        await old.wait(20)
        assert (old.info["reason"], agent.sandbox(old).exists()) == ("agent-lost", False)
        gone, away, stayed = [], [], 0
        for _ in range(KILLS):
            await router.agent_is_there(agent)
            job = await job_of(client, agent, ["sleep", "600"])
            gone_after, away_after = await killed(client, agent, job)
            gone.append(gone_after)
            away.append(away_after)
            agent.start()
            await job.wait(20)
            assert job.info["reason"] == "agent-lost"
            stayed += agent.sandbox(job).exists()
    figures.record("R5", "agents that were killed with their jobs", KILLS)
    figures.record("R5", "a killed agent's trees are gone after", max(gone), goal=2, unit="s", spread=gone)
    figures.record("R5", "a killed agent is away after", max(away), goal=15, unit="s", spread=away)
    figures.record("R5", "sandboxes of unfinished jobs after the restart", stayed, goal=0)
    assert not stayed


async def killed(client: Client, agent: AgentDaemon, job: Job) -> tuple[float, float]:
    """Seconds until its job's process is gone, and until the router shows the agent as away."""
    agent.kill()
    began = time.monotonic()
    await eventually(lambda: not alive(job.info["pid"]), seconds=6, what="the end of the tree")
    gone = time.monotonic() - began

    async def away() -> bool:
        return not any(found["connected"] for found in await client.agents())

    await eventually(away, seconds=45, what="the agent to be away")
    return gone, time.monotonic() - began


def test_a_system_without_guardians_refuses_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="only on Linux"):
        choice.make_keeper(TaskOwner("test"), cgroups=False, survival=Survival(1.0))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

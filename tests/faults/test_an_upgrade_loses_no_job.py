"""R5: a router and an agent whose files are replaced while they run go on, and the new version takes over all jobs.

The steps are those of docs/operations.md, "Upgrades": the test reads them from the page.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import signal
import sys
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from figures import Figures
from held_trees import is_there, parent_of
from installed import Installed, late_imports
from test_jobs_outlive_their_agent import COUNTS, SERVES, is_counted, job_of

from prouter import hookimpl
from prouter.agent.guard import beginning
from prouter.client import Client, Job, RequestFailed
from prouter.errors import ProuterError
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
OLD, NEW = "0.0.1", "99.0.0"
JOBS = 20
AT_START = ["agent/guard/choice.py:make_keeper"]
"""It is asked once, when the agent starts."""
LOADED = ["agent/guard/held/guardian.py:_hello", "agent/guard/held/guardian.py:main"]
"""The keeper is imported first."""


def test_no_module_of_ours_is_imported_late() -> None:
    """Its file may be another version's by then, or none's."""
    assert late_imports() == sorted(AT_START + LOADED)


def steps() -> list[str]:
    """The commands of the page's section."""
    section = PAGE.read_text("utf-8").partition("\n## Upgrades\n")[2].partition("\n## ")[0]
    block = section.partition("```sh\n")[2].partition("\n```")[0]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


async def test_an_upgrade_by_the_page_loses_none_of_twenty_jobs(fleet: Fleet, tmp_path: Path, figures: Figures) -> None:
    old_router, old_agent = (Installed(tmp_path / name, OLD) for name in ("router-host", "agent-host"))
    router = fleet.router(environ=old_router.environ)
    router.stay_put("server", "control")
    keeps = ("jobs.survive_agent=True", "client.reconnect_delay=0.2")
    agent = fleet.agent(router, *keeps, environ=old_agent.environ)
    await router.agent_is_there(agent)
    fleet.expected_errors += ["the keeper of processes ended", "unfinished when the agent ended"]
    async with router.client() as client:
        jobs = await begun(client, agent)
        pids = [job.info["pid"] for job in jobs]
        ends = [asyncio.create_task(end_of(job)) for job in jobs]

        hosts = iter((old_router, old_agent))

        async def replaced() -> None:
            """On the next machine; meanwhile there are no files at all, and whoever runs is still the old one."""
            host = next(hosts)
            host.uninstall()
            if host is old_agent:
                keeper = parent_of(parent_of(pids[0]))
                os.kill(keeper, signal.SIGKILL)
                await eventually(lambda: not is_there(keeper), what="the keeper's end")
            await everything_works(client, agent)  # in the middle of an upgrade, and with another keeper
            host.install(NEW)
            late = await job_of(client, agent, ["/bin/sh", "-c", COUNTS])
            jobs.append(late)
            pids.append(late.info["pid"])
            ends.append(asyncio.create_task(end_of(late)))
            told = await client.info() if host is old_router else (await client.agents())[0]
            assert told["version"] == OLD

        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "git pull && /opt/prouter/bin/pip install --upgrade '.[fast]'": replaced,
            "systemctl restart prouter": lambda: restarted(router),
            "systemctl restart prouter-agent": lambda: restarted(agent),
        }
        written = steps()
        assert set(written) == set(acts), "a step of the page that nobody tries, or that is missing"
        for step in written:
            await acts[step]()
            await router.agent_is_there(agent)
            states = [((await job.refresh()).info["state"], job.info["pid"]) for job in jobs]
            lost = [state for state, pid in zip(states, pids, strict=True) if state != ("RUNNING", pid)]
            figures.record("R5", "jobs that were not adopted by an upgraded agent", len(lost), goal=0)
            assert not lost
        assert (await client.info())["version"] == NEW
        assert [each["version"] for each in await client.agents()] == [NEW]

        await everything_works(client, agent)
        await guardians_of_before_work(client, agent, jobs, ends)


async def begun(client: Client, agent: AgentDaemon) -> list[Job]:
    counting = [job_of(client, agent, ["/bin/sh", "-c", COUNTS]) for _ in range(JOBS - 2)]
    serving = [job_of(client, agent, [sys.executable, "-c", SERVES], port={"mode": m}) for m in ("assign", "detect")]
    return list(await asyncio.gather(*counting, *serving))


async def end_of(job: Job) -> Job:
    """Asked for again when the router that was asked has ended."""
    while True:
        try:
            return await job.wait(60)
        except (aiohttp.ClientError, ProuterError):
            await asyncio.sleep(0.1)


async def restarted(daemon: RouterDaemon | AgentDaemon) -> None:
    assert daemon.stop() == 0
    daemon.start()


async def everything_works(client: Client, agent: AgentDaemon) -> None:
    """What is asked of a router and an agent in a job's life: each of it may need what was not needed before."""
    job = await client.create({"type": "uid", "uid": agent.uid}, "all")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("served")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"text"))
    await answered(client, "POST", f"{job.path}/archive", data=io.BytesIO(packed.getvalue()))
    await job.start([sys.executable, "-c", SERVES], port={"mode": "assign"})
    assert await answered(client, "GET", f"{job.path}/http/") == b"ok"
    assert b"served" in await answered(client, "GET", f"{job.path}/archive")
    assert await job.read("served") == b"text"
    async for chunk in job.output(follow=True):
        assert chunk.startswith(b"serving")
        break
    await job.stop(grace_seconds=0)
    await job.restart()
    await job.signal("KILL")
    await job.wait(20)
    assert job.info["reason"] == "signaled"
    for path in ("/openapi.json", "/docs", "/metrics", "/connections", "/jobs", f"{job.path}/explain"):
        assert await answered(client, "GET", path)
    await client.drain(agent.uid)
    await client.undrain(agent.uid)
    assert await answered(client, "GET", f"{job.path}/file/missing", status=404)
    await job.remove()


async def answered(client: Client, verb: str, path: str, status: int = 200, **request: Any) -> bytes:
    headers = {"Content-Type": "application/octet-stream"} if request else {}
    async with client.session.request(verb, client.url + path, headers=headers, **request) as answer:
        body = await answer.read()
        assert answer.status == status, (verb, path, body)
        return body


async def guardians_of_before_work(
    client: Client, agent: AgentDaemon, jobs: list[Job], ends: list[asyncio.Task[Job]]
) -> None:
    """Requests, a stop, a signal, a removal, output and exit codes of jobs that the old version started."""
    for job in jobs[JOBS - 2 : JOBS]:
        assert await answered(client, "GET", f"{job.path}/http/") == b"ok"
    await jobs[0].stop(grace_seconds=0)
    await jobs[1].signal("KILL")
    await jobs[2].remove()
    await eventually(lambda: not is_there(int(jobs[2].info["pid"])), what="the end of a removed job")
    for job in jobs[3:]:
        (agent.sandbox(job) / "go").touch()
    ended = await asyncio.gather(*ends[:2], *ends[3:])
    told = [(job.info["reason"], job.info["exit_code"]) for job in ended]
    assert told == [("stopped", -9), ("signaled", -9), *[("exited", 7)] * (len(jobs) - 3)]
    for job in [*jobs[3 : JOBS - 2], *jobs[JOBS:]]:
        output = b"".join([chunk async for chunk in job.output()])
        assert output.decode().splitlines()[-1] == f"end {is_counted(output)}"
    ends[2].cancel()
    await asyncio.gather(ends[2], return_exceptions=True)


class WithoutInterpreter:
    """For `fleet.agent(plugins=[...])`: after SIGUSR1 Python is not where it was; after another it is there again."""

    @hookimpl
    def prouter_startup(self) -> None:
        places = itertools.cycle(["/nowhere/python", beginning.EXECUTABLE])

        def swap() -> None:
            beginning.EXECUTABLE = next(places)

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, swap)


async def test_an_interpreter_that_is_gone_is_told_and_may_come_back(fleet: Fleet) -> None:
    """Jobs go on, a start fails and says why, and the next one works as soon as keepers can be started."""
    fleet.expected_errors += ["the keeper of processes ended", "no keeper of processes can be started"]
    router = fleet.router()
    agent = fleet.agent(router, plugins=[WithoutInterpreter])
    await router.agent_is_there(agent)
    async with router.client() as client:
        runs = await job_of(client, agent, ["sleep", "600"])
        agent.signal(signal.SIGUSR1)
        os.kill(parent_of(parent_of(runs.info["pid"])), signal.SIGKILL)
        await eventually(lambda: "no keeper of processes can be started" in agent.log, what="the lack of a keeper")
        job = await client.create({"type": "uid", "uid": agent.uid}, "fails")
        with pytest.raises(RequestFailed, match="No such file or directory") as failed:
            await job.start(["true"], port_expected_count=0)
        assert failed.value.http_status == 422
        agent.signal(signal.SIGUSR1)
        works = await job_of(client, agent, ["true"])
        assert (await works.wait(20)).info["exit_code"] == 0
        assert (await runs.refresh()).info["state"] == "RUNNING"

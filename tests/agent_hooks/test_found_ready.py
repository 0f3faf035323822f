"""A start with ports is over when plugins find the job ready, too; else it fails and nothing of it is left."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest
from witness import Told, tell

from prouter import hookimpl
from prouter.client import Client, Job, RequestFailed
from prouter.errors import StartFailed
from prouter.model.jobs import JobRecord
from prouter.testing import AgentDaemon, eventually

SERVES = """
import http.server, os, sys, threading, time
print("the last line", flush=True)
if "leaves" in sys.argv:
    threading.Timer(0.5, lambda: os._exit(7)).start()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


class Warm:
    """Asks the job itself, by the port that is served."""

    @hookimpl
    async def prouter_job_ready(self, record: JobRecord) -> None:
        tell(f"warm {record.state} {', '.join(record.ports)}")
        (port,) = record.ports.values()
        async with aiohttp.ClientSession() as session, session.get(f"http://{port.authority}/") as answer:
            assert answer.status == 200


class Picky:
    """The second one that is asked; the job's name says what it does."""

    @hookimpl
    async def prouter_job_ready(self, record: JobRecord) -> None:
        tell(f"picky {record.name}")
        match record.name:
            case "refused":
                raise StartFailed("the model is not loaded")
            case "broken":
                raise LookupError
            case "slow" | "leaves":
                await asyncio.sleep(600)


PLUGINS = {"a_warm": Warm, "picky": Picky}
SETTINGS = ()
EXPECTED_ERRORS = ("plugin picky", "Traceback")


async def started(client: Client, agent: AgentDaemon, name: str, *, seconds: float = 20.0) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, name)
    port = {"mode": "assign", "ready_timeout": seconds}
    return await job.start([sys.executable, "-c", SERVES, name], port=port)


async def test_the_start_is_answered_once_all_find_the_job_ready(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await started(client, agent, "good")
        assert told.lines() == ["warm RUNNING http", "picky good"]
        assert job.info["state"] == "RUNNING"
        told.clear()
        await job.stop(grace_seconds=0)
        await job.restart()
        assert told.lines() == ["warm RUNNING http", "picky good"], "asked at each start"
        batch = await client.create({"type": "uid", "uid": agent.uid}, "batch")
        await batch.start([sys.executable, "-c", "pass"], port_expected_count=0)
        assert "picky batch" not in told.lines(), "it serves nothing"


@pytest.mark.parametrize(
    ("name", "seconds", "status", "words"),
    [
        ("refused", 20, 422, "plugin 'picky' could not find the job ready: the model is not loaded; its last lines"),
        ("broken", 20, 500, "plugin 'picky' failed in prouter_job_ready"),
        ("slow", 2, 422, "plugin 'picky' did not find the job ready within 2 s; its last lines:\nthe last line"),
        ("leaves", 20, 422, "the program exited with status 7 before it served its port"),
    ],
)
async def test_a_start_fails_for_whoever_does_not_find_the_job_ready(
    place, told: Told, name: str, seconds: float, status: int, words: str
) -> None:
    router, agent = place
    async with router.client() as client:
        with pytest.raises(RequestFailed) as failed:
            await started(client, agent, name, seconds=seconds)
        assert failed.value.http_status == status
        assert words in failed.value.detail, failed.value.detail
        (job,) = await client.jobs()
        assert (job.info["state"], job.info["reason"]) == ("FINISHED", "start-failed")
        assert not running_in(agent.sandbox(job))
        assert told.lines()[-1] == f"picky {name}"


async def test_a_start_that_waits_for_a_plugin_can_be_stopped(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        starting = asyncio.create_task(started(client, agent, "slow"))
        await eventually(lambda: "picky slow" in told.lines())
        (job,) = await client.jobs()
        await job.stop(grace_seconds=0)
        with pytest.raises(RequestFailed, match=r"was ended .* while it was being started"):
            await starting
        assert not running_in(agent.sandbox(job))


def running_in(sandbox: Path) -> list[str]:
    """Processes whose working directory it is."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and Path(process, "cwd").readlink() == sandbox:
                found.append(process.name)
        except OSError:
            continue
    return found

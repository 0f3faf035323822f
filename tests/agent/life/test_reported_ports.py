"""Ports that jobs report: only one on which the job's own tree listens is believed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from small_jobs import SERVES, get, made, python, refusal

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, eventually

pytestmark = pytest.mark.as_user

REPORTS = """
import urllib.error, urllib.parse, urllib.request
def report(port, job=os.environ["DA__PAGENT__JOB_ID"]):
    url = os.environ["DA__PAGENT__JOB_ENDPOINT"] + "?" + urllib.parse.urlencode({"job_id": job, "port": port})
    try:
        with urllib.request.urlopen(url) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
"""
LISTENS = SERVES + "open('port', 'w').write(str(server.server_port))\nserver.serve_forever()"
"""Tells its port to nobody but a file."""


@asynccontextmanager
async def starting(client: Client, agent: AgentDaemon, program: str, **options: Any) -> AsyncIterator[tuple[Job, int]]:
    """A job whose start waits for a report, and the port on which its tree listens."""
    job = await made(client, agent)
    start = asyncio.create_task(job.start(python(program), **options))
    try:
        file = agent.sandbox(job) / "port"
        text = await eventually(lambda: file.exists() and file.read_text(), what="the job's port")
        yield job, int(text)
        await start
    finally:
        start.cancel()


async def report(agent: AgentDaemon, job: str, port: object) -> tuple[int, str]:
    return await get(f"{agent.url('report')}/job_started?job_id={job}&port={port}")


async def test_a_port_of_another_is_not_believed(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        with socket.create_server(("127.0.0.1", 0)) as foreign, socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            async with (
                starting(client, agent, LISTENS) as (one, port),
                starting(client, agent, LISTENS) as (two, other),
            ):
                uid = one.info["uid"]
                for wrong in (foreign.getsockname()[1], mute.getsockname()[1], other):
                    status, why = await report(agent, uid, wrong)
                    assert status == 400
                    assert f"port {wrong} is not one on which this job listens" in why
                for nobody in ("0" * 32, "", "nonsense"):
                    status, why = await report(agent, nobody, port)
                    assert (status, "no job of this id" in why) == (400, True)
                assert await report(agent, uid, port) == (200, "OK")
                assert await report(agent, two.info["uid"], other) == (200, "OK")
        assert one.info["ports"] == {"http": port}
        assert two.info["ports"] == {"http": other}


async def test_a_second_report_must_say_the_same(fleet) -> None:
    router, agent = await fleet.pair()
    two = SERVES + "second = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n" + REPORTS
    twice = two + (
        "said = [report(server.server_port), report(server.server_port), report(second.server_port)]\n"
        "import json; json.dump(said, open('said', 'w'))\nserver.serve_forever()"
    )
    async with router.client() as client:
        job = await made(client, agent)
        await job.start(python(twice))
        said = json.loads(await eventually(lambda: _read(agent, job, "said")))
        assert said[:2] == [[200, "OK"], [200, "OK"]]
        assert said[2][0] == 400
        assert "another port before" in said[2][1]
        assert (await job.refresh()).info["state"] == "RUNNING"
        async with client.session.get(job.url("first")) as answer:
            assert await answer.text() == "/first"


def _read(agent: AgentDaemon, job: Job, name: str) -> str:
    file = agent.sandbox(job) / name
    return file.read_text() if file.exists() else ""


async def test_a_grandchild_in_a_session_of_its_own_may_serve(fleet) -> None:
    router, agent = await fleet.pair()
    daemon = SERVES + REPORTS + (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        report(server.server_port)\n"
        "        server.serve_forever()\n"
        "    os._exit(0)\n"
        "server.socket.close()\n"
        "import time; time.sleep(600)\n"
    )  # fmt: skip
    async with router.client() as client:
        job = await made(client, agent)
        await job.start(python(daemon))
        async with client.session.get(job.url("x")) as answer:
            assert await answer.text() == "/x"


async def test_a_job_may_report_just_before_it_listens(fleet) -> None:
    router, agent = await fleet.pair()
    early = (
        "import os, socket, threading, time\n" + REPORTS + "s = socket.socket(); s.bind(('127.0.0.1', 0))\n"
        "t = threading.Thread(target=report, args=(s.getsockname()[1],)); t.start()\n"
        "time.sleep(0.3); s.listen(); t.join(); time.sleep(600)"
    )
    async with router.client() as client:
        job = await made(client, agent)
        await job.start(python(early))
        assert job.info["state"] == "RUNNING"


async def test_after_the_start_and_the_end_nobody_is_believed_any_more(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        await refusal(job.start(python("pass")), 422)
        assert (await report(agent, job.info["uid"], agent.address("report")[1]))[0] == 400

"""Ports that the agent picks: for programs that know nothing of us."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from small_jobs import DESCRIBES, SERVES, get, made, python, refusal

from prouter.testing import eventually

pytestmark = pytest.mark.as_user

SERVE = SERVES + "server.serve_forever()"
SLOWLY_READY = SERVES.replace("send_response(200)", "send_response(200 if os.path.exists('ready') else 503)")


async def test_placeholders_and_the_variable_port_tell_the_program(fleet) -> None:
    router, agent = await fleet.pair()
    words = "{port}", "--base={base_path}", "{sandbox}/x", "{{port}", "{{", "{unknown} {} }", "a{port}b{port}"
    async with router.client() as client:
        job = await made(client, agent)
        (agent.sandbox(job) / "at").mkdir()
        told = await job.start(
            python(DESCRIBES + SERVE, *words),
            env={"THEIRS": "on {port}"},
            cwd="{sandbox}/at",
            port={"mode": "assign", "prefix": "keep"},
        )
        given = json.loads(await job.read("at/told.json"))
        port, sandbox = str(told.info["ports"]["http"]), str(agent.sandbox(job))
        base = f"{job.path}/http"
        assert given["args"] == [
            port,
            f"--base={base}",
            f"{sandbox}/x",
            "{port}",
            "{",
            "{unknown} {} }",
            f"a{port}b{port}",
        ]
        assert (given["env"]["PORT"], given["env"]["THEIRS"]) == (port, f"on {port}")
        async with client.session.get(job.url("page?x=1")) as answer:
            assert await answer.text() == f"{base}/page?x=1", "keep: the job gets the path as the client sent it"


async def test_a_start_in_report_mode_replaces_nothing(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        await refusal(job.start(python(DESCRIBES, "{port} {{ {sandbox}")), 422)
        assert json.loads(await job.read("told.json"))["args"] == ["{port} {{ {sandbox}"]


async def test_the_start_waits_until_the_ready_path_answers_below_500(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        program = python(SLOWLY_READY + "print('up', flush=True); server.serve_forever()")
        start = asyncio.create_task(job.start(program, port={"mode": "assign", "ready": "/health?deep=1"}))
        log = agent.sandbox(job) / ".pagent.stderr"
        await eventually(lambda: log.exists() and log.read_text().count("GET /health?deep=1") >= 3)
        assert not start.done()
        (agent.sandbox(job) / "ready").touch()
        await start
        assert job.info["state"] == "RUNNING"


async def test_one_that_is_never_ready_is_ended_and_says_its_last_lines(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        program = python("print('please wait', flush=True)\n" + SLOWLY_READY + "server.serve_forever()")
        port = {"mode": "assign", "ready": "/", "ready_timeout": 1.5}
        begun = time.monotonic()
        why = await refusal(job.start(program, port=port), 422)
        assert time.monotonic() - begun < 20
        assert "did not answer / below 500" in why
        assert "within 1.5 s" in why
        assert "please wait" in why
        assert (await job.refresh()).info["reason"] == "start-failed"


async def test_jobs_that_start_together_get_ports_of_their_own(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        jobs = [await made(client, agent) for _ in range(4)]
        await asyncio.gather(*(job.start(python(SERVE), port={"mode": "assign"}) for job in jobs))
        ports = [job.info["ports"]["http"] for job in jobs]
        assert len(set(ports)) == 4
        for job, port in zip(jobs, ports, strict=True):
            assert await get(f"http://127.0.0.1:{port}/{job.info['uid']}") == (200, f"/{job.info['uid']}")

"""Starts that fail: what is said, that nothing is left of them, and what can be asked of such a job."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from small_jobs import SLEEPS, made, python, refusal, runs

from prouter.client import Client, Job
from prouter.testing import eventually

pytestmark = pytest.mark.as_user

FAR = {"mode": "report", "ready_timeout": 60}
LINES = "import sys\nfor n in range(30): print('line', n)\nprint('the reason', file=sys.stderr)\nsys.exit(4)"
TREE = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open("pids", "w").write("%d %d" % (os.getpid(), child.pid))
print("I never listen", flush=True)
time.sleep(600)
"""


async def start_failed(job: Job, exit_code: int | None = None) -> None:
    """Its state says so, to whoever asks or waits."""
    for info in ((await job.refresh()).info, (await job.wait()).info):
        told = info["state"], info["reason"], info["exit_code"], info["pid"], info["ports"]
        assert told == ("FINISHED", "start-failed", exit_code, None, {})
        assert info["finished_at"]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


async def test_a_program_that_is_missing_or_no_program_is_named(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:

        async def said(*args: str, status: int = 422) -> str:
            job = await made(client, agent)
            (agent.sandbox(job) / "plain.txt").write_text("no program")
            broken = agent.sandbox(job) / "broken"
            broken.write_text("#!/no/such/interpreter\n")
            broken.chmod(0o700)
            why = await refusal(job.start(list(args), port=FAR), status)
            await start_failed(job)
            return why

        for name in ("no-such-program", "./none", "/no/such/program", "größe 🐜"):
            assert name in await said(name)
        assert "plain.txt" in await said("./plain.txt")
        assert "broken" in await said("./broken")
        assert "Argument list too long" in await said("/bin/true", "x" * 200_000)


async def test_a_program_that_exits_before_it_serves_is_told_at_once_with_its_last_lines(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        begun = time.monotonic()
        why = await refusal(job.start(python(LINES), port=FAR), 422)
        assert time.monotonic() - begun < 30, "not after the 60 s of its ready_timeout"
        assert "exited with status 4" in why
        assert "the reason" in why
        assert "line 29" in why
        assert "line 5\n" not in why, "the last twenty lines"
        await start_failed(job, 4)
        killed = await made(client, agent)
        why = await refusal(killed.start(python("import os; os.kill(os.getpid(), 11)"), port=FAR), 422)
        assert "SIGSEGV" in why
        await start_failed(killed, -11)


async def test_a_program_that_never_listens_is_ended_with_its_whole_tree(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for mode in ("report", "assign"):
            job = await made(client, agent)
            why = await refusal(job.start(python(TREE), port={"mode": mode, "ready_timeout": 1.5}), 422)
            assert "within 1.5 s" in why
            assert "I never listen" in why
            pids = [int(word) for word in (await job.read("pids")).split()]
            assert all(gone(pid) for pid in pids), "the answer comes after the end of the tree"
            await start_failed(job, -9)


async def test_only_a_new_job_can_be_started(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        running, finished, failed = (
            await runs(client, agent),
            await runs(client, agent, "pass"),
            await made(client, agent),
        )
        await finished.wait()
        await refusal(failed.start(["no-such-program"]), 422)
        for job in (running, finished, failed):
            before = dict((await job.refresh()).info)
            assert "not NEW" in await refusal(job.start(["true"], port_expected_count=0), 409)
            assert (await job.refresh()).info == before


async def test_of_two_starts_at_once_one_starts(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        starts = [Job(client, job.info).start(python(SLEEPS), port_expected_count=0) for _ in range(4)]
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        assert sorted(getattr(outcome, "http_status", 200) for outcome in outcomes) == [200, 409, 409, 409]
        assert (await job.refresh()).info["state"] == "RUNNING"


async def test_what_makes_no_sense_is_refused_before_anything_is_begun(fleet) -> None:
    router, agent = await fleet.pair()
    wrong = [
        {"args": []},
        {"args": [""]},
        {"args": ["a\0"]},
        {"env": {"A=B": "x"}},
        {"env": {"": "x"}},
        {"env": {"A": "\0"}},
    ]
    async with router.client() as client:
        job = await made(client, agent)
        for body in wrong:
            body = {"args": ["true"], "port_expected_count": 0} | body
            await refusal(client.request("POST", job.path + "/start", body), 400)
        assert (await job.refresh()).info["state"] == "NEW"


async def test_text_that_no_process_can_be_given_fails_with_words(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for body in (
            {"args": ["true", "\ud800"]},
            {"args": ["true"], "env": {"A": "\ud800"}},
            {"args": ["true"], "cwd": "\udfff"},
        ):
            job = await made(client, agent)
            await refusal(client.request("POST", job.path + "/start", body | {"port_expected_count": 0}), 400)


async def waiting(client: Client, job: Job) -> asyncio.Task[Job]:
    return asyncio.create_task(Job(client, job.info).wait())


async def test_a_removal_breaks_off_a_start_and_is_told_to_all(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        start = asyncio.create_task(Job(client, job.info).start(python(TREE), port=FAR))
        wait = await waiting(client, job)
        pids = agent.sandbox(job) / "pids"
        text = await eventually(lambda: pids.exists() and pids.read_text())
        await job.remove()
        assert all(gone(int(pid)) for pid in text.split())
        assert "while it was being started" in await refusal(start, 422)
        told = (await wait).info
        assert (told["state"], told["reason"]) == ("FINISHED", "stopped")
        await refusal(job.refresh(), 404)
        assert not (agent.jobs / job.info["uid"]).exists()

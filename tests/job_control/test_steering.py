"""Stop, signal and restart through the API, with real programs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, eventually

OBEDIENT = """
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path("ended").write_text(str(number))
    sys.exit(7)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, end)
signal.signal(signal.SIGHUP, lambda *_: pathlib.Path("hup").write_text("heard"))
runs = pathlib.Path("runs")
runs.write_text((runs.read_text() if runs.exists() else "") + "x")
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("ready", child.pid, flush=True)
time.sleep(600)
"""


async def running(client: Client, agent: AgentDaemon, program: str, **options: object) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "steered")
    await job.start([sys.executable, "-c", program], port_expected_count=0, **options)

    async def ready() -> bool:
        return b"ready" in await job.read(".pagent.stdout")

    await eventually(ready, what="the program's first line")
    return job


async def refused(asked: object) -> RequestFailed:
    with pytest.raises(RequestFailed) as error:
        await asked  # type: ignore[misc]
    return error.value


async def test_a_stop_lets_the_program_end_by_itself(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await running(client, agent, OBEDIENT)
        await job.stop()
        assert (job.info["state"], job.info["reason"], job.info["exit_code"]) == ("FINISHED", "stopped", 7)
        assert await job.read("ended") == b"15"
        again = await running(client, agent, OBEDIENT)
        await again.stop("SIGINT")
        assert await again.read("ended") == b"2"
        await again.stop()  # of a job that has ended: nothing happens
        assert again.info["exit_code"] == 7


async def test_after_the_grace_the_whole_tree_is_killed(fleet) -> None:
    router, agent = await fleet.pair("jobs.stop_grace=0.3")
    async with router.client() as client:
        job = await running(client, agent, STUBBORN)
        child = int((await job.read(".pagent.stdout")).split()[1])
        await job.stop()
        assert (job.info["reason"], job.info["exit_code"]) == ("stopped", -9)
        assert not alive(child)
        at_once = await running(client, agent, STUBBORN)
        await at_once.stop(grace_seconds=0)
        assert at_once.info["reason"] == "stopped"


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


async def test_a_stop_breaks_off_a_start_that_waits_for_its_port(fleet) -> None:
    import asyncio

    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        start = asyncio.create_task(
            job.start([sys.executable, "-c", "import time; time.sleep(600)"], port={"mode": "assign"})
        )
        other = Job(client, job.info)

        async def has_begun() -> bool:
            return (await other.refresh()).info["pid"] is not None

        await eventually(has_begun)
        await other.stop()
        assert (other.info["state"], other.info["reason"]) == ("FINISHED", "stopped")
        assert (await refused(start)).http_status == 422


async def test_nothing_is_left_of_jobs_that_are_removed_while_they_start(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:

        async def at_once(pause_seconds: float) -> None:
            job = await client.create({"type": "uid", "uid": agent.uid})

            async def later(asked: Callable[[], Awaitable[object]]) -> None:
                await asyncio.sleep(pause_seconds)
                await asked()

            start = job.start(["sleep", "600"], port_expected_count=0)
            asked = (start, later(lambda: job.stop(grace_seconds=0)), later(job.remove))
            for outcome in await asyncio.gather(*asked, return_exceptions=True):
                assert not isinstance(outcome, BaseException) or isinstance(outcome, RequestFailed)

        for number in range(16):
            await at_once(0.004 * number)
        assert await client.jobs() == []
        assert list(agent.jobs.iterdir()) == []


async def test_a_signal_reaches_the_program_and_it_goes_on(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await running(client, agent, OBEDIENT)
        await job.signal("HUP")
        assert job.info["state"] == "RUNNING"

        async def heard() -> bool:
            return (agent.sandbox(job) / "hup").exists()

        await eventually(heard)
        wrong = await refused(job.signal("NONSENSE"))
        assert wrong.http_status == 400
        assert "NONSENSE" in str(wrong)
        await job.signal("KILL")
        await job.wait()
        assert (job.info["reason"], job.info["exit_code"]) == ("signaled", -9)
        assert (await refused(job.signal("HUP"))).http_status == 409


async def test_a_signal_reaches_a_program_that_does_not_serve_yet(fleet) -> None:
    router, agent = await fleet.pair()
    program = """
import pathlib, signal, socket, sys, time
signal.signal(signal.SIGHUP, lambda *_: listeners.append(socket.create_server(("127.0.0.1", int(sys.argv[1])))))
listeners = []
pathlib.Path("ready").touch()
while True:
    time.sleep(0.01)
"""
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "steered")
        started = asyncio.create_task(job.start([sys.executable, "-c", program, "{port}"], port={"mode": "assign"}))
        await eventually((agent.sandbox(job) / "ready").exists)
        (pending,) = await client.jobs()
        assert (await pending.signal("HUP")).info["state"] in ("PENDING", "RUNNING")
        assert (await started).info["state"] == "RUNNING"


async def test_a_restart_runs_the_same_again_in_the_same_sandbox(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await running(client, agent, OBEDIENT, env={"MARK": "1"})
        assert (await refused(job.restart())).http_status == 409
        before = dict(job.info)
        await job.stop()
        await job.restart()
        assert job.info["state"] == "RUNNING"
        assert job.info["path"] == before["path"]
        assert job.info["pid"] != before["pid"]
        assert (job.info["reason"], job.info["exit_code"], job.info["finished_at"]) == (None, None, None)

        async def ran_twice() -> bool:
            return (agent.sandbox(job) / "runs").read_text() == "xx"

        await eventually(ran_twice)
        waiting = await job.wait(timeout_seconds=0.1)
        assert waiting.info["state"] == "RUNNING"
        await job.stop()
        assert job.info["reason"] == "stopped"


async def test_a_finished_job_can_be_restarted_after_its_agent_was(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await running(client, agent, OBEDIENT)
        await job.stop()
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        await job.restart()
        assert job.info["state"] == "RUNNING"
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)

        async def lost() -> bool:
            return (await job.refresh()).info["reason"] == "agent-lost"

        await eventually(lost)
        assert job.info["exit_code"] != 7, "the end of the run before is not this one's"
        cleaned = await refused(job.restart())
    assert cleaned.http_status == 409
    assert "sandbox" in str(cleaned)


async def test_a_job_that_was_never_started_can_be_neither_stopped_nor_restarted(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        for asked in (job.stop, job.restart):
            assert (await refused(asked())).http_status == 409
        assert (await refused(job.signal("TERM"))).http_status == 409

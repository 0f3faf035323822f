"""No process outlives its job, whoever is killed: the promises of the keeper and its guardians, with real trees.

PROUTER_TEST_ROUNDS=50 repeats each kill that often; the promise is 2 s, tests allow three times that.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time

import pytest
from held_trees import FORK_STORM, NASTY, marked, parent_of

from prouter.client import Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

ROUNDS = int(os.environ.get("PROUTER_TEST_ROUNDS", "2"))
GONE_SECONDS = 6.0
CGROUPS = ["off"] if os.environ.get("PROUTER_TEST_CGROUPS") == "off" else ["auto", "off"]


async def all_gone(mark: str) -> None:
    await eventually(lambda: not marked(mark), seconds=GONE_SECONDS, what="the end of the whole tree")


def guardian_of(agent: AgentDaemon, job: Job) -> int:
    facts = json.loads((agent.jobs / job.info["uid"] / "guardian.json").read_text())
    return int(facts["guardian"]["pid"])


class Nest:
    """A router and an agent that can be started anew, and jobs with nasty trees."""

    def __init__(self, fleet: Fleet, cgroups: str) -> None:
        self.router: RouterDaemon = fleet.router()
        self.agent: AgentDaemon = fleet.agent(self.router, f"jobs.cgroups={cgroups}")
        fleet.expected_errors += ["the keeper of processes ended", "guardian"]

    async def job(self) -> tuple[Job, str]:
        """A running job and the mark of its tree."""
        mark = secrets.token_hex(8)
        await self.router.agent_is_there(self.agent)
        async with self.router.client() as client:
            job = await client.create({"type": "uid", "uid": self.agent.uid}, "nasty")
            await job.upload(NASTY, "nasty.py")
            await job.start([sys.executable, "nasty.py", mark], port_expected_count=0)
        await eventually((self.agent.sandbox(job) / "ready").exists, what="the nasty tree")
        await eventually(lambda: len(marked(mark)) >= 11, what="all of the nasty tree")
        return job, mark

    async def ended(self, job: Job) -> dict[str, object]:
        async with self.router.client() as client:
            info: dict[str, object] = await client.request("POST", f"/jobs/{job.info['uid']}/wait", timeout=20)
        return info


@pytest.fixture(params=CGROUPS)
def nest(fleet: Fleet, request: pytest.FixtureRequest) -> Nest:
    return Nest(fleet, request.param)


async def test_removing_a_job_ends_its_whole_tree(nest: Nest) -> None:
    for _ in range(ROUNDS):
        job, mark = await nest.job()
        async with nest.router.client() as client:
            await client.request("POST", f"{job.path}/remove")
        assert not marked(mark), "the answer to remove came before the tree was gone"
        assert not (nest.agent.jobs / job.info["uid"]).exists()


async def test_the_end_of_the_main_process_ends_the_rest(nest: Nest) -> None:
    job, mark = await nest.job()
    os.kill(job.info["pid"], signal.SIGKILL)
    info = await nest.ended(job)
    assert (info["state"], info["reason"], info["exit_code"]) == ("FINISHED", "signaled", -9)
    assert not marked(mark)


async def test_a_killed_agent_takes_its_trees_with_it(nest: Nest) -> None:
    for _ in range(ROUNDS):
        job, mark = await nest.job()
        nest.agent.kill()
        await all_gone(mark)
        nest.agent.start()
        info = await nest.ended(job)
        assert (info["state"], info["reason"]) == ("FINISHED", "agent-lost")
        assert not nest.agent.sandbox(job).exists(), "the sandbox of an unfinished job is cleaned"


async def test_a_killed_guardian_takes_its_tree_with_it(nest: Nest) -> None:
    for _ in range(ROUNDS):
        job, mark = await nest.job()
        os.kill(guardian_of(nest.agent, job), signal.SIGKILL)
        await all_gone(mark)
        info = await nest.ended(job)
        assert (info["state"], info["reason"]) == ("FINISHED", "agent-lost")


async def test_a_killed_keeper_is_replaced_and_jobs_go_on(nest: Nest) -> None:
    job, mark = await nest.job()
    os.kill(parent_of(guardian_of(nest.agent, job)), signal.SIGKILL)
    other, other_mark = await nest.job()
    assert marked(mark)
    async with nest.router.client() as client:
        for path in (job.path, other.path):
            await client.request("POST", f"{path}/remove")
    assert not marked(mark)
    assert not marked(other_mark)


async def test_keeper_and_then_agent_killed(nest: Nest) -> None:
    for _ in range(ROUNDS):
        job, mark = await nest.job()
        os.kill(parent_of(guardian_of(nest.agent, job)), signal.SIGKILL)
        nest.agent.kill()
        await all_gone(mark)
        nest.agent.start()


async def test_a_frozen_agent_that_is_killed_takes_its_trees_with_it(nest: Nest) -> None:
    _, mark = await nest.job()
    nest.agent.signal(signal.SIGSTOP)
    nest.agent.kill()
    await all_gone(mark)
    nest.agent.start()


async def test_a_graceful_end_of_the_agent_ends_all(nest: Nest) -> None:
    _, mark = await nest.job()
    begun = time.monotonic()
    assert nest.agent.stop() == 0
    assert not marked(mark)
    assert time.monotonic() - begun < 15
    nest.agent.start()


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_a_fork_storm_is_ended_at_the_limit_of_processes(nest: Nest) -> None:
    await nest.router.agent_is_there(nest.agent)
    for _ in range(ROUNDS):
        mark = secrets.token_hex(8)
        storm = [sys.executable, "-S", str(FORK_STORM), mark]
        async with nest.router.client() as client:
            job = await client.create({"type": "uid", "uid": nest.agent.uid}, "storm")
            await job.start(storm, port_expected_count=0, limits={"processes": 100})
        info = await nest.ended(job)
        assert (info["state"], info["reason"]) == ("FINISHED", "limit")
        await all_gone(mark)


async def test_a_job_holds_no_descriptor_of_ours(nest: Nest) -> None:
    await nest.router.agent_is_there(nest.agent)
    program = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))"
    async with nest.router.client() as client:
        job = await client.create({"type": "uid", "uid": nest.agent.uid}, "descriptors")
        await job.start([sys.executable, "-S", "-c", program], port_expected_count=0)
        await job.wait()
        listed = await job.read(".pagent.stdout")
    assert listed.split() == b"['0', '1', '2', '3']".split(), "3 is the listing's own"


async def test_a_timeout_ends_the_tree(nest: Nest) -> None:
    await nest.router.agent_is_there(nest.agent)
    async with nest.router.client() as client:
        job = await client.create({"type": "uid", "uid": nest.agent.uid}, "slow")
        await job.start(["sleep", "600"], port_expected_count=0, timeout=0.3)
        await job.wait(20)
    assert (job.info["state"], job.info["reason"], job.info["exit_code"]) == ("FINISHED", "timeout", -9)

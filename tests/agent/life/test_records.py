"""Records survive the agent: what had finished is there again, what had not is told as lost."""

from __future__ import annotations

import asyncio
import json

import pytest
from small_jobs import SERVES, SLEEPS, made, python, refusal, runs

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, eventually

pytestmark = pytest.mark.as_user


def asleep(agent: AgentDaemon, job: Job) -> bool:
    return (agent.sandbox(job) / ".pagent.stdout").read_bytes() == b"awake\n"


WRONG = ("[]", '{"uid": 7}', "null", "[" * 100_000)
"""JSON that is no record."""


def half(record: str) -> str:
    return record[: len(record) // 2]


def of_another(record: str) -> str:
    return record.replace(json.loads(record)["uid"], "0" * 32)


async def of_every_kind(client: Client, agent: AgentDaemon) -> dict[str, Job]:
    """Finished, running, still starting, and never started."""
    finished = await runs(client, agent, "open('result', 'w').write('42'); print('said'); raise SystemExit(3)")
    await finished.wait()
    running = await runs(client, agent)
    await eventually(lambda: asleep(agent, running))
    return {"finished": finished, "running": running, "new": await made(client, agent)}


async def ended(job: Job) -> tuple[object, ...]:
    await job.wait(30)
    return tuple(job.info[key] for key in ("state", "reason", "exit_code"))


@pytest.mark.parametrize("way", ["graceful", "killed"])
async def test_jobs_over_a_restart_of_the_agent(fleet, way) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        jobs = await of_every_kind(client, agent)
        before = {name: dict(job.info) for name, job in jobs.items()}
        assert agent.stop() == 0 if way == "graceful" else agent.kill() is None
        agent.start()
        await router.agent_is_there(agent)
        finished = await jobs["finished"].refresh()
        assert finished.info == before["finished"], "nothing of it has changed"
        assert await finished.read("result") == b"42"
        assert await finished.read(".pagent.stdout") == b"said\n"
        for name in ("running", "new"):
            assert (await ended(jobs[name]))[:2] == ("FINISHED", "agent-lost")
            assert jobs[name].path == before[name]["path"]
            assert not agent.sandbox(jobs[name]).exists()
        assert jobs["running"].info["finished_at"]
        await finished.remove()
        assert not (agent.jobs / finished.info["uid"]).exists()


async def test_a_job_that_was_starting_when_the_agent_was_killed_is_lost(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        start = client.session.post(client.url + job.path + "/start", json={"args": python(SLEEPS)})
        starting = asyncio.ensure_future(start)  # what it is told when its agent dies is the router's to say
        await eventually(lambda: (agent.sandbox(job) / ".pagent.stdout").exists() and asleep(agent, job))
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        (await starting).release()
        assert (await ended(job))[:2] == ("FINISHED", "agent-lost")


async def test_torn_records_are_set_aside_with_a_message_and_the_agent_starts(fleet) -> None:
    router, agent = await fleet.pair()
    fleet.expected_errors.append("is lost")
    async with router.client() as client:
        finished = await runs(client, agent, "open('result', 'w').close()")
        await finished.wait()
        torn = [finished, *[await made(client, agent) for _ in range(len(WRONG) + 2)]]
        whole = await runs(client, agent, "pass")
        await whole.wait()
        agent.stop()
        uids = [job.info["uid"] for job in torn]
        for uid, tear in zip(uids, (half, lambda _: "", of_another, *(lambda _, t=t: t for t in WRONG)), strict=True):
            record = agent.jobs / uid / "record.json"
            record.write_text(tear(record.read_text()))
        agent.start()
        await router.agent_is_there(agent)
        assert (await whole.refresh()).info["state"] == "FINISHED"
        for job in torn:
            await refusal(job.refresh(), 404)
    for uid in uids:
        assert f"job {uid} is lost" in agent.log
        assert f"all that was there is now in {agent.jobs / f'torn-{uid}'}: " in agent.log
        assert (agent.jobs / f"torn-{uid}" / "record.json").exists()
    assert (agent.jobs / f"torn-{uids[0]}" / "sandbox" / "result").exists()


async def test_a_removal_that_a_crash_cut_short_is_completed(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await runs(client, agent, "pass")
        await job.wait()
        agent.kill()
        (agent.jobs / job.info["uid"]).rename(agent.jobs / f".removed-{job.info['uid']}")
        agent.start()
        await router.agent_is_there(agent)
        await refusal(job.refresh(), 404)
    assert list(agent.jobs.iterdir()) == []


async def test_the_path_of_a_job_serves_again_after_its_agent_came_back(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        serve = python(SERVES + "server.serve_forever()")
        await job.start(serve, port={"mode": "assign"})
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        await ended(job)
        again = await made(client, agent)
        await again.start(serve, port={"mode": "assign"})
        async with client.session.get(again.url("x")) as answer:
            assert await answer.text() == "/x"
        async with client.session.get(job.url("x")) as answer:
            assert answer.status in (502, 404, 409)
    assert json.loads((agent.jobs / job.info["uid"] / "record.json").read_text())["reason"] == "agent-lost"

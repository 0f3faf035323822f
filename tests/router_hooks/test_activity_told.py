"""prouter_proxy_activity: what goes through the ports of a job, as its agent reports it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hearing import Heard
from proxied import Proxied, call, new_job

from prouter.core.jobs.mirror import JobMirror
from prouter.model.activity import Activity
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, JobState, Sender
from prouter.testing import eventually


async def test_counts_are_told_when_they_change_and_again_to_a_router_that_comes_back(fleet, tmp_path: Path) -> None:
    heard = Heard(tmp_path, "proxy_activity")
    router = fleet.router(f"plugins.load=[{str(heard.plugin)!r}]")
    agent = fleet.agent(router, "jobs.activity_interval=0.05")
    await router.agent_is_there(agent)
    job = new_job(router, agent, "", "torture.py")
    uid = job.info["uid"]

    async def grown(job: Proxied, count: int) -> dict[str, object]:
        await job.ask(f"/big?bytes={count}")
        return await heard.some("activity", lambda told: told["bytes_out"] >= count)

    told = await grown(job, 1000)
    assert (told["agent"], told["job"]) == (agent.uid, uid)
    assert told["bytes_in"] > 0
    assert told["last_at"] > 1e9
    assert (await grown(job, 100_000))["job"] == uid

    router.stay_put("server", "control")
    router.kill()
    before = len(heard.all("activity"))
    router.start()
    await router.agent_is_there(agent)
    await eventually(lambda: len(heard.all("activity")) > before)
    assert heard.all("activity")[before]["bytes_out"] >= 101_000
    await grown(job, 1_000_000)
    counts = [{**told, "agent": None} for told in heard.all("activity")]
    for life in (counts[:before], counts[before:]):
        assert all(one != other for one, other in pairwise(life)), "nothing had changed"

    async def shown() -> bool:
        newest = heard.all("activity")[-1]
        info = call(router, "GET", f"{job.info['path']}/info")["activity"]
        return info["bytes_out"] == newest["bytes_out"] and info["connections"] == newest["connections"]

    await eventually(shown)


def test_what_is_told_again_or_of_a_job_that_is_not_known_is_no_news() -> None:
    """An agent tells everything anew over a new link."""
    mirror = JobMirror(lambda record: None)
    made = JobRecord(JobUid("j"), "", Sender("SERVER", "r", "r"), JobState.NEW, created_at=1.0, revision=1)
    mirror.apply(made)
    assert mirror.note(made.uid, Activity(1, 2, 3, 4.0))
    assert not mirror.note(made.uid, Activity(1, 2, 3, 4.0))
    assert mirror.note(made.uid, Activity(0, 2, 3, 4.0))
    assert not mirror.note(JobUid("other"), Activity(1, 2, 3, 4.0))

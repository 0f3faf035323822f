"""A create that is repeated while the agent which has the job is away: to be asked again, and not to be made anew."""

from __future__ import annotations

from prouter.model.ids import new_uid
from prouter.testing import Fleet, eventually


async def test_a_create_of_a_job_on_an_agent_that_is_away_may_be_asked_again(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "once", uid=new_uid())

        async def asked_again(uid: str) -> tuple[int, dict[str, object]]:
            body = {"agent": {"type": "uid", "uid": agent.uid}, "name": "once", "uid": uid}
            async with client.session.post(f"{client.url}/jobs/create", json=body) as answer:
                return answer.status, await answer.json()

        agent.kill()

        async def is_away() -> bool:
            return not (await client.agents())[0]["connected"]

        await eventually(is_away, what="the end of the link")
        status, problem = await asked_again(job.info["uid"])
        assert (status, problem["retryable"]) == (503, True), problem
        assert (await asked_again(new_uid()))[0] == 404, "a new job would be made elsewhere, so that is told at once"
        agent.start()
        await router.agent_is_there(agent)
        status, info = await asked_again(job.info["uid"])
        assert (status, info["uid"]) == (200, job.info["uid"])

"""A create that is repeated while the agent which has the job is away: to be asked again, and not to be made anew."""

from __future__ import annotations

from prouter.model.ids import new_uid
from prouter.testing import Fleet, eventually


async def test_a_create_of_a_job_on_an_agent_that_is_away_may_be_asked_again(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "once", uid=new_uid())

        async def asked_again(uid: str) -> tuple[int, dict[str, object]]:
            status, _, told = await asked({"type": "uid", "uid": agent.uid}, uid)
            return status, told

        async def asked(locator: dict[str, object], uid: str) -> tuple[int, str | None, dict[str, object]]:
            body = {"agent": locator, "name": "once", "uid": uid}
            async with client.session.post(f"{client.url}/jobs/create", json=body) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.json()

        agent.kill()

        async def is_away() -> bool:
            return not (await client.agents())[0]["connected"]

        await eventually(is_away, what="the end of the link")
        status, problem = await asked_again(job.info["uid"])
        assert (status, problem["retryable"]) == (503, True), problem
        away: list[dict[str, object]] = [
            {"type": "uid", "uid": agent.uid},
            {"type": "select", "uids": ["nobody", agent.uid]},
        ]
        for locator in away:  # a new job might be made elsewhere, so that is told at once; here it may be, soon
            status, later, problem = await asked(locator, new_uid())
            assert (status, problem["type"]) == (404, "urn:prouter:agent-not-found"), problem
            assert (problem["retryable"], later) == (True, "1"), problem
        for locator in ({"type": "uid", "uid": "nobody"}, {"type": "select", "uids": ["nobody"]}):
            status, later, problem = await asked(locator, new_uid())
            assert (status, problem["retryable"], later) == (404, False, None), problem
        agent.start()
        await router.agent_is_there(agent)
        status, info = await asked_again(job.info["uid"])
        assert (status, info["uid"]) == (200, job.info["uid"])

"""Places of a team, against a live router and agent."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from prouter import hookspecs, implements
from prouter.client import Client, Job, RequestFailed
from prouter.model.access import Peer, Principal
from prouter.model.http import RequestHead
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate
from prouter.testing import AgentHere, RouterHere, Setup, assert_contract, eventually
from prouter.testing.contracts import samples


class Names:
    """Stands for an authenticator that knows the team: the token is its name; of ? it knows none."""

    @implements(hookspecs.prouter_authenticate_request)
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | None:
        name = head.get("x-prouter-token")
        return None if name is None else Principal("ada", "names", findings={"team": name} if name != "?" else {})


@pytest.fixture
def prouter_setup() -> Setup:
    limits = json.dumps({"red": 2, "blue": 1})
    settings = [f"team_quotas.limits={limits}", "access.authenticators=['names', 'token_auth']"]
    return Setup(settings=settings, plugins={"names": Names})


@pytest.fixture
async def red(router: RouterHere, agent: AgentHere) -> AsyncIterator[Client]:
    async with router.client("red") as client:
        yield client


async def made(client: Client, agent: AgentHere, name: str = "job", **more: Any) -> Job:
    return await client.create({"type": "uid", "uid": agent.uid}, name, **more)


async def refused(client: Client, agent: AgentHere, **more: Any) -> str:
    with pytest.raises(RequestFailed) as told:
        await made(client, agent, **more)
    assert told.value.http_status == 403
    return str(told.value)


async def test_a_team_has_its_places_and_no_more(router: RouterHere, agent: AgentHere, red: Client) -> None:
    first = await made(red, agent)
    assert first.info["labels"] == {"team": "red"}
    await made(red, agent)
    assert "team 'red' has 2 of 2 places taken" in await refused(red, agent)
    async with router.client("blue") as blue:
        await made(blue, agent)
        await refused(blue, agent)
        await refused(blue, agent, labels={"team": "green"})  # what a client says does not count
    async with router.client() as anonymous:
        await made(anonymous, agent)
        await refused(anonymous, agent, labels={"team": "red"})
        await made(anonymous, agent, labels={"team": "green"})
    await first.remove()
    await made(red, agent)


async def test_two_at_once_do_not_get_the_last_place(agent: AgentHere, red: Client) -> None:
    outcomes = await asyncio.gather(*(made(red, agent, str(n)) for n in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, Job) for outcome in outcomes) == 2
    assert len(await red.jobs()) == 2


async def test_a_place_is_free_again_when_no_job_came_of_it(agent: AgentHere, red: Client) -> None:
    for _ in range(3):
        with pytest.raises(RequestFailed, match="not found"):
            await red.create({"type": "uid", "uid": "nobody"}, "job")

    async def fits() -> bool:  # the news of it come a moment later
        try:
            await made(red, agent)
        except RequestFailed:
            return False
        return True

    await eventually(fits)
    await eventually(fits)


async def test_a_finished_job_gives_its_place_back_and_takes_it_when_restarted(agent: AgentHere, red: Client) -> None:
    jobs = [await made(red, agent) for _ in range(2)]
    for job in jobs:
        await job.start([sys.executable, "-c", ""], port_expected_count=0)
        await job.wait(20)
    running = [await made(red, agent) for _ in range(2)]
    with pytest.raises(RequestFailed, match="2 of 2 places"):
        await jobs[0].restart()
    await running[0].remove()
    await jobs[0].restart()


async def test_the_same_request_again_takes_no_second_place(agent: AgentHere, red: Client) -> None:
    uid = "a" * 32
    await made(red, agent)
    first = await made(red, agent, uid=uid)
    again = await made(red, agent, uid=uid)
    assert again.info["uid"] == first.info["uid"]
    await refused(red, agent)


async def test_an_explanation_takes_no_place(agent: AgentHere, red: Client) -> None:
    for _ in range(3):
        assert (await red.explain({"type": "uid", "uid": agent.uid}, "job"))["refused"] is None
    await made(red, agent)
    await made(red, agent)
    told = await red.explain({"type": "uid", "uid": agent.uid}, "job")
    assert "2 of 2 places" in str(told["refused"])


@pytest.mark.prouter(settings=['team_quotas.members={"ada": "blue"}'])
async def test_a_team_may_be_known_by_the_name_of_who_asks(router: RouterHere, agent: AgentHere) -> None:
    async with router.client("?") as ada, router.client("red") as red:
        assert (await made(ada, agent)).info["labels"] == {"team": "blue"}
        await refused(ada, agent)
        assert (await made(red, agent)).info["labels"] == {"team": "red"}


@pytest.mark.prouter(agent_settings=["properties.team='blue'"])
async def test_a_machine_of_a_team_takes_its_jobs_only(router: RouterHere, agent: AgentHere, red: Client) -> None:
    with pytest.raises(RequestFailed, match="it belongs to team 'blue'"):
        await made(red, agent)
    async with router.client("blue") as blue:
        await made(blue, agent)


async def test_another_router_counts_what_runs(
    in_process: Any, router: RouterHere, agent: AgentHere, red: Client
) -> None:
    """Nothing is remembered: a router that starts anew hears of the jobs from their agents."""
    await made(red, agent)
    await made(red, agent)
    await router.stop()
    port = router.address("server")[1]
    settings = [f"server.port={port}", 'team_quotas.limits={"red": 2}', "access.authenticators=['names', 'token_auth']"]
    settings.append(f"server.accept_tokens=['{router.agent_token}']")
    again = await in_process.router(*settings, plugins={"names": Names})
    await again.agent_is_there(agent)
    async with again.client("red") as client:
        await refused(client, agent)


async def test_it_keeps_the_contracts(router: RouterHere) -> None:
    plugin = router.plugin("team_quotas")
    own, foreign = [Candidate(AgentUid("a"), "a", {"team": team}, 0) for team in ("lab", "blue")]
    asked = {"request": samples.a_create_request(labels={"team": "lab"})}
    await assert_contract(
        plugin,
        "veto",
        hook="prouter_filter_agent",
        allowed=[{"candidate": own, **asked}],
        refused=[{"candidate": foreign, **asked}],
    )
    await assert_contract(plugin, "observer")

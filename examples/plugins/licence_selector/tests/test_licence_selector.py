"""Counted licences, and the queue for them, against a live router and agent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from prouter.client import Client, Job, RequestFailed
from prouter.testing import AgentHere, InProcess, RouterHere, Setup, assert_contract, eventually

SETTINGS = ["licence_selector.products={'solver': 2, 'mesher': 1}"]


@pytest.fixture
def prouter_setup() -> Setup:
    return Setup(settings=SETTINGS)


@pytest.fixture
async def client(router: RouterHere, agent: AgentHere) -> AsyncIterator[Client]:
    async with router.client() as client:
        yield client


def uid(number: int) -> str:
    return f"{number:032x}"


async def made(client: Client, number: int | None = None, product: str = "solver", **more: Any) -> Job:
    locator = {"type": "licence", "product": product} | more
    return await client.create(locator, uid="" if number is None else uid(number))


async def refused(client: Client, number: int | None = None, **more: Any) -> dict[str, Any]:
    with pytest.raises(RequestFailed) as told:
        await made(client, number, **more)
    assert told.value.http_status == 503
    return dict(told.value.problem)


async def position(client: Client, number: int, **more: Any) -> int:
    return int((await refused(client, number, **more))["licence"]["position"])


async def test_who_comes_first_is_served_first_and_keeps_its_place_by_asking(client: Client) -> None:
    first, second = await made(client, 1), await made(client, 2)
    problem = await refused(client, 3)
    assert problem["licence"] == {"product": "solver", "free": 0, "position": 1}
    assert "position 1 in the queue: ask again within 60 s with the same uid" in problem["detail"]
    assert await position(client, 4) == 2
    assert await position(client, 3) == 1
    assert await position(client, 4) == 2
    await first.remove()
    assert await position(client, 4) == 2  # the free one is the other's
    third = await made(client, 3)
    assert third.info["labels"] == {"licence.product": "solver", "licence.count": "1"}
    assert await position(client, 4) == 1
    await second.remove()
    await made(client, 4)
    await made(client, 5, product="mesher")


async def test_a_large_request_is_not_overtaken_by_small_ones(client: Client) -> None:
    first = await made(client, 1)
    assert await position(client, 2, count=2) == 1
    assert await position(client, 3) == 2
    await first.remove()
    await made(client, 2, count=2)


async def test_a_finished_job_gives_its_licences_back(client: Client) -> None:
    job = await made(client, 1, count=2)
    await refused(client, 2)
    await job.start([sys.executable, "-c", ""], port_expected_count=0)
    await job.wait()
    await made(client, 2)


async def test_many_at_once_get_no_more_than_there_are(client: Client) -> None:
    answers = await asyncio.gather(*(made(client, number) for number in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, Job) for answer in answers) == 2


async def test_a_job_that_can_not_be_known_again_gets_no_place(client: Client) -> None:
    await made(client, count=2)
    problem = await refused(client)
    assert "with a uid of its own a job keeps its place" in problem["detail"]
    assert await position(client, 2) == 1


async def test_what_never_can_be_had_is_a_wrong_request(client: Client) -> None:
    for wrong in ({"product": "unknown"}, {"count": 3}, {"count": 0}, {"product": 5}, {"more": 1}):
        with pytest.raises(RequestFailed, match="Invalid request") as told:
            await made(client, **wrong)  # type: ignore[arg-type]
        assert told.value.http_status == 400


@pytest.mark.prouter(settings=["licence_selector.place_seconds=1"])
async def test_who_does_not_ask_again_loses_the_place(client: Client) -> None:
    await made(client, 1, count=2)
    assert await position(client, 2) == 1

    async def moved_up() -> bool:
        return await position(client, 3) == 1

    assert await position(client, 3) == 2
    await eventually(moved_up)


@pytest.mark.prouter(settings=["licence_selector.max_waiting=1"])
async def test_the_queue_is_bounded(client: Client) -> None:
    await made(client, 1, count=2)
    assert await position(client, 2) == 1
    assert "the queue is full" in (await refused(client, 3))["detail"]
    assert await position(client, 2) == 1


async def test_a_dry_run_takes_nothing_and_does_not_queue(client: Client) -> None:
    locator = {"type": "licence", "product": "solver", "count": 2}
    assert (await client.explain(locator, uid=uid(1)))["refused"] is None
    await made(client, 2, count=2)
    assert (await client.explain(locator, uid=uid(3)))["refused"]["status"] == 503
    assert await position(client, 4) == 1


async def test_nobody_else_writes_the_account(client: Client, agent: AgentHere) -> None:
    labels = {"licence.product": "solver", "licence.count": "2", "mine": "yes"}
    job = await client.create({"type": "uid", "uid": agent.uid}, labels=labels)
    assert job.info["labels"] == {"mine": "yes"}
    await made(client, 1, count=2)


@pytest.mark.prouter(settings=["licence_selector.together_points=10"])
async def test_agents_on_which_the_product_runs_are_preferred(
    client: Client, router: RouterHere, agent: AgentHere, in_process: InProcess
) -> None:
    await in_process.agent(router)
    first, second = await made(client, 1), await made(client, 2)
    assert first.info["agent"]["uid"] == second.info["agent"]["uid"]
    scores = [agent["score"] for agent in (await second.explain())["creation"]["agents"]]
    assert sorted(scores) == [0, 10]


async def test_it_keeps_the_contracts_of_selectors_and_scores(router: RouterHere) -> None:
    locator = {"type": "licence", "product": "solver", "count": 2, "job": uid(1), "queues": True}
    plugin = router.plugin("licence_selector")
    await assert_contract(plugin, "selector", locators=[locator], wrong=[{"type": "licence"}, locator | {"count": 0}])
    await assert_contract(plugin, "score")


async def test_a_router_that_starts_anew_knows_who_holds_what(
    router: RouterHere, agent: AgentHere, in_process: InProcess
) -> None:
    async with router.client() as client:
        await made(client, 1, count=2)
    port, state = router.address("server")[1], router.place / "state"
    await router.stop()
    again = [f"server.port={port}", f"state.directory={str(state)!r}", f"server.accept_tokens=[{router.agent_token!r}]"]
    anew = await in_process.router(*SETTINGS, *again)
    await anew.agent_is_there(agent)
    async with anew.client() as client:
        assert await position(client, 2) == 1

"""The locators `select` and `labels` through the API, with agents of many kinds that run nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import FakeAgent, RouterHere, eventually

Two = tuple[FakeAgent, FakeAgent]


@pytest.fixture
async def two(router: RouterHere) -> AsyncIterator[Two]:
    small = FakeAgent(router, properties={"memory": "16", "gpu": "none"}, capacity={"jobs": 1})
    large = FakeAgent(router, properties={"memory": "256", "gpu": "a100"}, capacity={"jobs": 4})
    async with small, large:
        for agent in (small, large):
            await router.agent_is_there(agent)
        yield small, large


async def chosen(client: Client, locator: dict[str, object], *, start: bool = False) -> str:
    job = await client.create(locator)
    if start:
        await job.start(["a program"], port_expected_count=0)
    return str(job.info["agent"]["uid"])


async def test_select_takes_the_least_loaded_of_those_named(router: RouterHere, two: Two) -> None:
    small, large = two
    locator = {"type": "select", "uids": ["nobody", small.uid, large.uid]}
    async with router.client() as client:
        first = await chosen(client, locator, start=True)
        second = await chosen(client, locator, start=True)
        assert {first, second} == {small.uid, large.uid}
        rest = [await chosen(client, locator) for _ in range(3)]
        assert rest == [large.uid] * 3
        with pytest.raises(RequestFailed) as refused:
            await chosen(client, locator)
    assert refused.value.http_status == 503
    reasons = {seen["agent"]: seen["reason"] for seen in refused.value.problem["considered"]}
    assert "not connected" in reasons["nobody"]
    assert "full" in reasons[small.uid]
    assert "capacity 4" in reasons[large.uid]


async def test_select_of_agents_that_are_not_connected_is_not_found_at_once(router: RouterHere) -> None:
    async with router.client() as client:
        with pytest.raises(RequestFailed) as refused:
            await chosen(client, {"type": "select", "uids": ["nobody"]})
    assert refused.value.http_status == 404
    assert "connection" in str(refused.value)
    assert "not found" in str(refused.value)
    assert refused.value.problem["considered"] == [{"agent": "nobody", "reason": "it is not connected"}]


async def test_agents_that_are_away_are_considered_and_not_taken(router: RouterHere, two: Two) -> None:
    small, large = two
    assert small.rpc is not None
    await small.rpc.close()
    reasons = {small.uid: "it is away for the moment"}
    async with router.client() as client:

        async def considered(locator: dict[str, object]) -> tuple[int, dict[str, str]]:
            with pytest.raises(RequestFailed) as refused:
                await chosen(client, locator)
            found = {agent["agent"]: agent["reason"] for agent in refused.value.problem["considered"]}
            return refused.value.http_status, found

        async def is_away() -> bool:
            return any(not agent["connected"] for agent in await client.agents())

        await eventually(is_away)
        assert await considered({"type": "select", "uids": [small.uid]}) == (404, reasons)
        status, found = await considered({"type": "labels", "match": {"gpu": "none"}})
        assert status == 503
        assert found == {**reasons, large.uid: "its property 'gpu' is 'a100', not 'none'"}


async def test_labels_choose_by_properties_and_say_why_not(router: RouterHere, two: Two) -> None:
    small, large = two
    async with router.client() as client:
        assert await chosen(client, {"type": "labels", "match": {"gpu": "a100"}}) == large.uid
        assert await chosen(client, {"type": "labels", "match": {"memory": {"lt": 100}}}) == small.uid
        with pytest.raises(RequestFailed) as refused:
            await chosen(client, {"type": "labels", "match": {"memory": {"ge": 512}}})
        assert refused.value.http_status == 503
        assert "is 256, not >= 512" in str(refused.value)
        with pytest.raises(RequestFailed) as wrong:
            await chosen(client, {"type": "labels", "match": {"memory": {"around": 512}}})
    assert wrong.value.http_status == 400
    assert wrong.value.problem["errors"][0]["pointer"] == "/agent/match/memory"


async def test_a_number_as_long_as_one_likes_is_no_reason_to_break(router: RouterHere) -> None:
    async with FakeAgent(router, properties={"memory": "16"}) as agent, router.client() as client:
        await router.agent_is_there(agent)
        for digits, status in ((300, 503), (310, 400), (400, 400), (5000, 400)):
            body = '{"agent": {"type": "labels", "match": {"memory": {"gt": 1' + "0" * digits + "}}}}"
            async with client.session.post(f"{client.url}/jobs/create", data=body) as answer:
                assert answer.status == status, digits


async def test_capacity_is_shown(router: RouterHere, two: Two) -> None:
    small, _ = two
    async with router.client() as client:
        shown = {agent["uid"]: agent["capacity"] for agent in await client.agents()}
    assert shown[small.uid] == {"jobs": {"total": 1, "used": 0}}

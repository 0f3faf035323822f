"""GET /jobs, /agents and /plugins: filters and pages, through the API and by themselves."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.errors import InvalidRequest
from prouter.model.paging import page, pairs


@given(entries=st.sets(st.tuples(st.floats(0, 1e9), st.text(max_size=5)), max_size=30), limit=st.integers(1, 10))
def test_pages_together_are_the_whole_list_in_order(entries, limit) -> None:
    found: list[Any] = []
    query = {"limit": str(limit)}
    while True:
        shown, following = page(entries, lambda entry: entry, query)
        assert len(shown) <= limit
        found += shown
        if following is None:
            break
        query = {"limit": str(limit), "cursor": following}
    assert found == sorted(entries)


def test_what_is_removed_between_two_pages_hides_nothing() -> None:
    _, cursor = page(["a", "b", "c"], lambda entry: (entry,), {"limit": "2"})
    assert page(["c"], lambda entry: (entry,), {"cursor": str(cursor)}) == (["c"], None)


@given(st.text(max_size=40))
def test_any_text_as_a_cursor_is_a_cursor_or_refused(text) -> None:
    with contextlib.suppress(InvalidRequest):
        page([(1.0, "a")], lambda entry: entry, {"cursor": text})


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1.5", "x", "", "10001", "9" * 400, "١", "000000001" + "0" * 5000, "0000000199999"]
)
def test_a_limit_is_a_number_in_its_range(limit) -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        page([], lambda entry: entry, {"limit": limit})


def test_label_filters_may_occur_more_than_once() -> None:
    assert pairs("label=a:1&x=2&label=b:c:d", "label") == ["a:1", "b:c:d"]
    with pytest.raises(InvalidRequest, match="KEY:VALUE"):
        pairs("label=a", "label")


async def names(client: Client, **query: str) -> list[str]:
    found = await client.request("GET", "/jobs", **query)
    return [job["name"] for job in found["jobs"]]


async def test_jobs_are_filtered_and_paged(fleet) -> None:
    router, first = await fleet.pair()
    second = fleet.agent(router)
    await router.agent_is_there(second)
    async with router.client() as client:
        for number, agent in enumerate((first, first, second)):
            labels = {"number": str(number), "who": "me"}
            await client.create({"type": "uid", "uid": agent.uid}, f"job-{number}", labels=labels)
        assert await names(client) == ["job-0", "job-1", "job-2"]
        assert await names(client, agent=second.uid) == ["job-2"]
        assert await names(client, label="number:1") == ["job-1"]
        assert await names(client, label="who:you") == []
        assert await names(client, state="RUNNING") == []
        assert len(await names(client, state="NEW")) == 3
        part = await client.request("GET", "/jobs", limit="2")
        rest = await client.request("GET", "/jobs", limit="2", cursor=part["next"])
        assert [job["name"] for job in part["jobs"] + rest["jobs"]] == ["job-0", "job-1", "job-2"]
        assert rest["next"] is None
        for query in ({"state": "SLEEPING"}, {"label": "x"}, {"limit": "many"}, {"cursor": "nonsense"}):
            with pytest.raises(RequestFailed) as refused:
                await client.request("GET", "/jobs", **query)
            assert refused.value.http_status == 400


async def test_labels_of_any_text_are_found(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        labels = {"a:b": "c", "": "empty", "x": "1", "ü&=": "%:+"}
        await client.create({"type": "uid", "uid": agent.uid}, "odd", labels=labels)
        for key, value in labels.items():
            assert await names(client, label=f"{key}:{value}") == ["odd"]
        for query, found in (
            ("label=a%3Ab:c", 1),
            ("label=x:1&label=:empty", 1),
            ("label=x:1&label=x:2", 0),
            ("label=x:2&label=x:1", 0),
            ("label=a:b", 0),
        ):
            async with client.session.get(URL(f"{client.url}/jobs?{query}", encoded=True)) as answer:
                assert len((await answer.json())["jobs"]) == found, query


async def test_agents_are_filtered_by_properties_and_presence(fleet) -> None:
    router, plain = await fleet.pair()
    special = fleet.agent(router, "properties.gpu='a100'")
    await router.agent_is_there(special)
    async with router.client() as client:

        async def uids(**query: str) -> list[str]:
            return [agent["uid"] for agent in (await client.request("GET", "/agents", **query))["agents"]]

        assert await uids() == sorted([plain.uid, special.uid])
        assert await uids(property="gpu:a100") == [special.uid]
        assert await uids(connected="0") == []
        with pytest.raises(RequestFailed):
            await uids(connected="perhaps")


async def test_plugins_are_shown_with_their_hooks_and_why_one_is_not_there(fleet) -> None:
    router = fleet.router("plugins.disabled=['selector_uid']")
    async with router.client() as client:
        shown = {plugin["name"]: plugin for plugin in (await client.request("GET", "/plugins"))["plugins"]}
    assert shown["selector_uid"]["state"] == "disabled"
    assert shown["selector_uid"]["summary"] == "", "what prouter says of itself is not said of one of its plugins"
    assert "configuration" in shown["selector_uid"]["why"]
    assert shown["jobs_api"]["state"] == "loaded"
    assert shown["jobs_api"]["distribution"] == "prouter"
    assert "prouter_routes (collect)" in shown["jobs_api"]["hooks"]

"""Plugins say how well agents suit a job: the most points win, and an explanation shows whose they are."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from choosers import explained_in_words, locator, router_with

from prouter import hookimpl, hookspecs
from prouter.core import scoring
from prouter.model.access import Principal
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest
from prouter.model.plugin import MAX_POINTS, Candidate, Score
from prouter.model.selection import least_loaded
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.discovery import Found, Switches
from prouter.pluginkit.host import PluginHost
from prouter.testing import Fleet, eventually

ANYWHERE = {"type": "labels", "match": {}}
DATA = """
    @hookimpl
    async def prouter_score_agent(self, candidate, request):
        await asyncio.sleep(0)
        return Score(10, "it has the data") if candidate.name == "busy" else None
"""
WEIRD = """
    @hookimpl
    def prouter_score_agent(self, candidate):
        if candidate.name == "busy":
            return Score(-2.5)
        points = {"idle": math.nan, "free": math.inf}[candidate.name]
        return Score(points, "hidden-words")
"""
GATE = """
    @hookimpl
    def prouter_filter_agent(self, candidate):
        return Refusal("it is closed") if candidate.name == "closed" else None
"""


async def test_the_most_points_win_over_the_load_and_each_plugin_s_part_is_told(fleet: Fleet, tmp_path: Path) -> None:
    router = router_with(fleet, tmp_path, data=DATA, weird=WEIRD, gate=GATE)
    fleet.expected_errors += ["weird", "Traceback"]
    agents = {name: fleet.agent(router, f"identity.name={name!r}") for name in ("busy", "idle", "free", "closed")}
    for agent in agents.values():
        await router.agent_is_there(agent)
    names = {agent.uid: name for name, agent in agents.items()}
    async with router.client() as client:
        jobs = [await client.create(ANYWHERE) for _ in range(2)]
        assert {names[str(job.info["agent"]["uid"])] for job in jobs} == {"busy"}
        found = await client.explain(ANYWHERE)
        kept = (await jobs[1].explain())["creation"]
        for told in (found, kept):
            shown = {names[agent["agent"]]: agent for agent in told["agents"]}
            assert (shown["busy"]["score"], shown["busy"]["rank"], shown["busy"]["taken"]) == (7.5, 1, True)
            parts = [(part["plugin"], part["points"], part["reason"]) for part in shown["busy"]["scores"]]
            assert sorted(parts) == [("data", 10, "it has the data"), ("weird", -2.5, "")]
            for name in ("idle", "free"):
                assert shown[name]["score"] == 0
                ((plugin, points),) = [(part["plugin"], part["points"]) for part in shown[name]["scores"]]
                assert (plugin, points) == ("weird", None)
            assert (shown["closed"]["score"], shown["closed"]["scores"]) == (None, [])
            assert told["scoring"]["milliseconds"] >= 0
            assert "hidden-words" not in str(told)
        document = await client.request("GET", "/openapi.json")
    words = explained_in_words(router, locator())
    assert "score 7.5: " in words
    assert "+10 by data (it has the data)" in words
    assert "no points by weird" in words
    post = document["paths"]["/jobs/explain"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"score", "scores"} <= set(post["properties"]["agents"]["items"]["required"])
    await eventually(lambda: "by plugin weird is missing" in router.log)


async def test_where_nobody_scores_nothing_is_said_of_scores(fleet: Fleet) -> None:
    router, _ = await fleet.pair()
    async with router.client() as client:
        found = await client.explain(ANYWHERE)
    assert found["scoring"] is None
    assert [(agent["score"], agent["scores"]) for agent in found["agents"]] == [(None, [])]
    assert "score" not in explained_in_words(router, locator())


@pytest.mark.parametrize("points", [math.nan, math.inf, -math.inf, MAX_POINTS + 1, 1e308, 10**400])
def test_points_that_can_not_be_added_up_are_none(points: float) -> None:
    with pytest.raises(ValueError, match="points"):
        Score(points)


def test_the_score_comes_before_the_load_and_the_load_before_the_uid() -> None:
    def candidate(uid: str, score: float, jobs: int) -> Candidate:
        return Candidate(AgentUid(uid), uid, {}, jobs, capacity={"jobs": 4}, score=score)

    assert least_loaded([candidate("a", 0, 0), candidate("b", 1, 3), candidate("c", 1, 2)], {}) == "c"
    assert least_loaded([candidate("a", 5, 4), candidate("b", -1, 0)], {}) == "b"  # the best one is full


# --- a thousand agents ---

MANY = [Candidate(AgentUid(f"agent-{number}"), f"{number}", {}, 0) for number in range(1000)]


class Counting:
    def __init__(self) -> None:
        self.asked: list[str] = []

    @hookimpl
    def prouter_score_agent(self, candidate: Candidate) -> Score:
        self.asked.append(candidate.uid)
        return Score(float(candidate.name))


class Broken:
    @hookimpl
    def prouter_score_agent(self, candidate: Candidate) -> Score:
        raise RuntimeError


class Slow:
    """Asks somebody else, who never answers for agent 999."""

    @hookimpl
    async def prouter_score_agent(self, candidate: Candidate) -> Score:
        await asyncio.sleep(0.001)
        if candidate.name == "999":
            await asyncio.Event().wait()
        return Score(1)


class Other:
    @hookimpl
    def prouter_filter_agent(self) -> None: ...


def hooks_of(*plugins: Any) -> Hooks:
    host = PluginHost(hookspecs)
    host.load([Found(type(one).__name__, "them", "1", lambda one=one: one) for one in plugins], Switches())
    return Hooks(host)


async def scored(*plugins: Any) -> dict[str, float]:
    found = await scoring.score(hooks_of(*plugins), MANY, CreateRequest(ANYWHERE), Principal("x"))
    return {candidate.name: candidate.score for candidate in found}


async def test_each_of_many_is_asked_about_once_and_others_have_their_turn_meanwhile() -> None:
    counting = Counting()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    found = await scored(counting)
    beside.cancel()
    assert sorted(counting.asked) == sorted(candidate.uid for candidate in MANY)
    assert found == {candidate.name: float(candidate.name) for candidate in MANY}
    assert turns >= len(MANY) // scoring.AT_ONCE


async def test_who_takes_too_long_is_missing_and_the_rest_counts(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(scoring, "SCORE_SECONDS", 2.0)
    found = await asyncio.wait_for(scored(Slow()), 60)
    assert sum(found.values()) == 999
    assert "1 of 1000 agents were not scored within 2 s" in caplog.text


async def test_one_that_fails_a_thousand_times_is_said_once_to_be_missing(caplog: Any) -> None:
    found = await scored(Broken(), Counting())
    assert found["7"] == 7
    assert caplog.text.count("is missing") == 1


async def test_where_nobody_implements_it_nothing_is_built() -> None:
    hooks = hooks_of(Other())
    assert await scoring.score(hooks, MANY, CreateRequest(ANYWHERE), Principal("x")) is MANY

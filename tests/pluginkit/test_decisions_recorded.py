"""What deciders answered is recorded where somebody wants to know, bounded, and nowhere else."""

from __future__ import annotations

import json

import pytest
from small_specs import hooks_of
from test_calling_deciders import answering, failing

from prouter.errors import PluginFailure
from prouter.model import selection, trail
from prouter.model.access import Principal, Refusal
from prouter.model.http import ForwardPlan, Reply, RequestHead
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest
from prouter.model.plugin import Candidate
from prouter.model.telling import changes_of
from prouter.model.trail import MAX_AGENTS, MAX_DECISIONS, MAX_PASSED, Outcome, Trail, recorded


async def test_each_answer_is_recorded_with_its_plugin_and_outcome() -> None:
    hooks = hooks_of(
        a=answering("prouter_allowed", lambda value: Refusal("not on\n\x1b[2JSundays")),
        b=answering("prouter_allowed", lambda value: None),
        c=answering("prouter_changed", lambda value: value + 1),
        d=answering("prouter_changed", lambda value: value),
        e=answering("prouter_asked", lambda value: "found"),
    )
    with recorded(Trail()) as kept:
        assert await hooks.veto("prouter_allowed", value=1) == ("a", Refusal("not on\n\x1b[2JSundays"))
        assert await hooks.chain("prouter_changed", value=1) == 2
        assert await hooks.first("prouter_asked", value=1) == ("e", "found")
    told = [(decision.hook, decision.plugin, decision.outcome.value) for decision in kept.decisions]
    assert told == [
        ("prouter_allowed", "b", "passed"),
        ("prouter_allowed", "a", "refused"),
        ("prouter_changed", "d", "passed"),
        ("prouter_changed", "c", "changed"),
        ("prouter_asked", "e", "answered"),
    ]
    assert all(0 <= decision.milliseconds < 10_000 for decision in kept.decisions)
    assert kept.objections() == "prouter_allowed of a: not on ?[2JSundays"


async def test_nothing_is_recorded_where_nobody_asks() -> None:
    hooks = hooks_of(a=answering("prouter_asked", lambda value: "found"))
    with recorded(Trail()) as kept:
        await hooks.first("prouter_asked", value=1)
    await hooks.first("prouter_asked", value=1)
    assert trail.current.get() is None
    assert len(kept.decisions) == 1


async def test_a_plugin_that_fails_is_recorded_without_its_secrets() -> None:
    hooks = hooks_of(a=answering("prouter_asked", failing))
    with recorded(Trail()) as kept, pytest.raises(PluginFailure):
        await hooks.first("prouter_asked", value=1)
    (decision,) = kept.decisions
    assert (decision.plugin, decision.outcome) == ("a", Outcome.FAILED)
    assert "secret" not in json.dumps(kept.shown())


def test_a_trail_is_bounded_in_entries_and_bytes() -> None:
    kept = Trail()
    for number in range(MAX_DECISIONS + 500):
        kept.answered("prouter_asked", "p", {}, "", Refusal("x" * 10_000) if number % 2 else None, 0.001)
    assert [d.outcome for d in kept.decisions].count(Outcome.PASSED) == MAX_PASSED
    assert len(kept.decisions) + kept.left_out == MAX_DECISIONS + 500
    agents = {f"agent-{number}": "é" * 1000 for number in range(MAX_AGENTS + 10)}
    kept.filtered(agents, {})
    assert (len(kept.agents), kept.agents_left_out) == (MAX_AGENTS, 10)
    kept.chosen = "agent-7"
    for limit in (2000, 16384, 65536):
        text = kept.kept(limit)
        assert text is not None
        assert len(text.encode()) <= limit
        document = json.loads(text)
        assert [agent["agent"] for agent in document["agents"] if agent["taken"]] == ["agent-7"]
        assert len(document["decisions"]) + document["left_out"]["decisions"] == MAX_DECISIONS + 500
    assert kept.kept(50) is None


def test_a_closed_trail_takes_nothing_more() -> None:
    kept = Trail()
    kept.close()
    kept.answered("prouter_asked", "p", {}, "", "late", 0.0)
    kept.filtered({"late": ""}, {})
    assert not kept.decisions
    assert not kept.agents


def test_what_a_chain_changed_is_told_without_what_nobody_may_see() -> None:
    before = CreateRequest({"type": "address", "token": "secret-1"}, "before", {"team": "a", "old": "x"})
    after = CreateRequest({"type": "address", "token": "secret-2"}, "after", {"team": "b", "new": "y"})
    assert changes_of(before, after) == [
        {"field": "locator.token"},
        {"field": "name", "before": "before", "after": "after"},
        {"field": "labels.team", "before": "a", "after": "b"},
        {"field": "labels.old", "before": "x", "after": None},
        {"field": "labels.new", "before": None, "after": "y"},
    ]
    old = RequestHead("GET", "/a", (("X-One", "secret-3"), ("X-Two", "secret-4")))
    new = RequestHead("GET", "/b?secret-5", (("X-One", "secret-6"), ("X-Three", "secret-7")))
    named = [{"field": name} for name in ("target", "headers.x-one", "headers.x-two", "headers.x-three")]
    assert changes_of(old, new) == named
    assert changes_of({"A": "secret-8"}, {"A": "secret-9", "B": ""}) == [{"field": "A"}, {"field": "B"}]
    plan = ForwardPlan("/secret-10", "secret-11", frozenset(("cookie",)), set_headers=(("X-Set", "secret-12"),))
    assert changes_of(None, plan) == [{"field": "headers.cookie"}, {"field": "headers.x-set"}]


def test_who_answers_instead_of_a_job_and_who_somebody_is_are_told() -> None:
    kept = Trail()
    head = RequestHead("GET", "/", ())
    kept.answered("prouter_proxy_request", "gate", {"head": head}, "head", Reply(503), 0.0)
    kept.answered("prouter_authenticate_request", "keys", {"head": head}, "", Principal("ada", "keys"), 0.0)
    told = [(decision.outcome.value, decision.reason) for decision in kept.decisions]
    assert told == [("answered", "it answers 503 itself"), ("answered", "this is 'ada'")]


def test_a_selector_that_ranks_by_load_tells_its_order() -> None:
    candidates = [
        Candidate(AgentUid(uid), "", {}, jobs, 0, {"jobs": 2}) for uid, jobs in (("a", 1), ("b", 0), ("c", 2))
    ]
    with recorded(Trail()) as kept:
        assert selection.least_loaded(candidates, {AgentUid("d"): "it is not connected"}) == "b"
    told = {uid: (agent.rank, agent.reason) for uid, agent in kept.agents.items()}
    assert told == {
        "b": (1, "0 jobs run, 0 wait, capacity 2"),
        "a": (2, "1 jobs run, 0 wait, capacity 2"),
        "c": (None, "it is full: 2 jobs, capacity 2"),
        "d": (None, "it is not connected"),
    }

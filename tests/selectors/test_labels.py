"""Conditions on properties, by themselves."""

from __future__ import annotations

import pytest

from prouter.errors import NoAgent
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate
from prouter.model.selection import least_loaded
from prouter.plugins.selector_labels import first_mismatch

PROPERTIES = {"gpu": "a100", "memory": "64", "site": "lab"}


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({}, None),
        ({"gpu": "a100"}, None),
        ({"gpu": "h100"}, "is 'a100', not 'h100'"),
        ({"gpu": ["h100", "a100"]}, None),
        ({"gpu": ["h100", "b200"]}, "none of"),
        ({"licence": "x"}, "is not there"),
        ({"gpu": {"exists": True}}, None),
        ({"gpu": {"exists": False}}, "is there"),
        ({"licence": {"exists": True}}, "is not there"),
        ({"licence": {"exists": False}}, None),
        ({"memory": {"ge": 64, "lt": 65}}, None),
        ({"memory": {"gt": 64}}, "is 64, not > 64"),
        ({"memory": {"le": 32}}, "is 64, not <= 32"),
        ({"memory": "64.0"}, "is '64'"),
        ({"gpu": {"ge": 1}}, "no number"),
        ({"licence": {"ge": 1}}, "is not there"),
        ({"gpu": "a100", "site": "office"}, "'site'"),
    ],
)
def test_all_conditions_must_hold_and_the_first_that_does_not_is_told(match, why) -> None:
    found = first_mismatch(match, PROPERTIES)
    assert (found is None) if why is None else (why in found)


@pytest.mark.parametrize("value", ["nan", "inf-ish", ""])
def test_what_is_no_number_never_compares(value) -> None:
    assert "no number" in first_mismatch({"memory": {"ge": -1e300}}, {"memory": value})


def agent(uid: str, jobs: int, waiting: int = 0, slots: int | None = None) -> Candidate:
    return Candidate(AgentUid(uid), uid, {}, jobs, waiting, {} if slots is None else {"jobs": slots})


def test_the_least_loaded_is_so_for_its_capacity() -> None:
    assert least_loaded([agent("a", 2, slots=4), agent("b", 3, slots=8)], {}) == "b"


def test_jobs_that_were_made_and_not_started_decide_between_equals() -> None:
    assert least_loaded([agent("a", 1, waiting=1), agent("b", 1)], {}) == "b"


def test_an_agent_that_states_no_capacity_is_never_full() -> None:
    assert least_loaded([agent("a", 100), agent("b", 2, slots=2)], {}) == "a"


def test_the_refusal_names_every_agent_and_why() -> None:
    with pytest.raises(NoAgent) as refused:
        least_loaded([agent("a", 1, waiting=1, slots=2)], {AgentUid("b"): "its property 'gpu' is not there"})
    assert "a: it is full: 2 jobs, capacity 2" in refused.value.detail
    assert [seen["agent"] for seen in refused.value.extra["considered"]] == ["a", "b"]

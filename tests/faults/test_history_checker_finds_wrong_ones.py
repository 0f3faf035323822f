"""R22: the rules by which histories are judged find what is wrong, and nothing in what may have been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from history import LOST, OK, PENDING, UNKNOWN, Asked, History, Truth, broken_promises

JOB = "f" * 32
RUNS = {JOB: [("RUNNING", None)]}


def made(*calls: Mapping[str, Any]) -> History:
    """One call after the other, a second each, all acknowledged unless they say otherwise."""
    history = History(lambda: 0.0)
    for number, facts in enumerate(calls):
        told = {"router": "r1", "begun": float(number), "ended": number + 0.5, "outcome": OK} | dict(facts)
        history.calls.append(Asked(told.pop("verb"), JOB, told.pop("router"), told.pop("begun"), **told))
    return history


CREATE, START = {"verb": "create", "state": "NEW"}, {"verb": "start", "key": "k", "state": "RUNNING"}
STOP = {"verb": "stop", "state": "FINISHED", "reason": "stopped"}
REMOVE, WAIT = {"verb": "remove"}, {"verb": "wait", "state": "FINISHED", "reason": "exited", "place": "one"}


def upload(value: str, **facts: Any) -> dict[str, Any]:
    return {"verb": "upload", "value": value, **facts}


def download(value: str | None, **facts: Any) -> dict[str, Any]:
    return {"verb": "download", "value": value, **facts}


def told(state: str, revision: int, **facts: Any) -> dict[str, Any]:
    return {"verb": "info", "state": state, "revision": revision, "boots": (1, 1), **facts}


def info(state: str, **facts: Any) -> dict[str, Any]:
    """As the real API tells it: without a revision, by one router in whatever run."""
    return {"verb": "info", "state": state, "place": "one", **facts}


ANEW = {"verb": "restart", "key": "r", "state": "RUNNING"}
ENDED = Truth({JOB: [("FINISHED", "exited")]}, {JOB: 1}, files={JOB: None}, hurt=[JOB], brief=[JOB])
"""By itself, on an agent that was killed at some time; its file is gone."""


@pytest.mark.parametrize(
    ("calls", "truth", "words"),
    [
        ([CREATE], Truth({}, {}), "it was made, and is gone"),
        ([CREATE], Truth({JOB: [("NEW", None)] * 2}, {}), "there are 2 of it"),
        ([CREATE, REMOVE], Truth({JOB: [("NEW", None)]}, {}), "after it was removed"),
        ([], Truth({JOB: [("NEW", None)]}, {}), "was never asked for"),
        ([CREATE, {"verb": "info", "outcome": "job-not-found"}], Truth({JOB: [("NEW", None)]}, {}), "not to be there"),
        ([CREATE, START], Truth(RUNS, {JOB: 2}, [JOB]), "began 2 times"),
        ([CREATE, START, START], Truth(RUNS, {JOB: 2}, [JOB]), "began 2 times"),
        ([CREATE, START | {"outcome": UNKNOWN}], Truth(RUNS, {JOB: 2}, [JOB]), "began 2 times"),
        ([CREATE, START], Truth({JOB: [("NEW", None)]}, {JOB: 0}), "forgotten"),
        ([CREATE, START], Truth({JOB: [("NEW", None)]}, {JOB: 0}), "began 0 times"),
        ([CREATE, START], Truth(RUNS, {JOB: 1}), "its process is gone"),
        ([CREATE, START], Truth({JOB: [("FINISHED", LOST)]}, {JOB: 1}, [JOB], hurt=[JOB]), "its process runs"),
        ([CREATE, START], Truth({JOB: [("FINISHED", LOST)]}, {JOB: 1}), "nothing died"),
        ([CREATE, START], Truth({JOB: [("FINISHED", "stopped")]}, {JOB: 1}), "nobody asked for that"),
        ([CREATE, START], Truth({JOB: [("FINISHED", "exited")]}, {JOB: 1}), "ended by itself"),
        ([CREATE, START], Truth({JOB: [("FINISHED", "start-failed")]}, {JOB: 0}), "could not fail"),
        ([CREATE, START], Truth({JOB: [("FINISHED", "orphaned")]}, {JOB: 1}), "ended as orphaned"),
        ([CREATE, START], Truth({JOB: [("FINISHED", "timeout")]}, {JOB: 1}), "a reason that there was not"),
        ([CREATE, START, STOP], Truth(RUNS, {JOB: 1}, [JOB]), "its stop was acknowledged"),
        ([CREATE, START, REMOVE], Truth({}, {JOB: 1}, [JOB]), "nobody knows of it"),
        ([CREATE, upload("a")], Truth({JOB: [("NEW", None)]}, {}, files={JOB: None}), "uploaded is gone"),
        ([CREATE, upload("a")], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "aa"}), "holds 'aa'"),
        ([CREATE, upload("a"), upload("b")], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "a"}), "holds 'a'"),
        ([CREATE, upload("a"), download(None)], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "a"}), "is gone"),
        ([CREATE, upload("a"), upload("b"), download("a")], Truth({JOB: [("NEW", None)]}, {}), "holds 'a'"),
        ([CREATE, WAIT | {"state": "RUNNING"}], Truth(RUNS, {}, [JOB]), "ended before the job"),
        ([CREATE, WAIT | {"reason": None}], Truth(RUNS, {}, [JOB]), "an end without a reason"),
        ([CREATE, told("RUNNING", 4), told("NEW", 1)], Truth(RUNS, {}, [JOB]), "revision 1 was told after 4"),
        ([CREATE, info("RUNNING"), info("NEW")], Truth(RUNS, {}, [JOB]), "it was RUNNING, and NEW after"),
        ([CREATE, WAIT, info("NEW")], ENDED, "it was FINISHED, and NEW after"),
        ([CREATE, START, WAIT, info("RUNNING", router="r2")], ENDED, "it was FINISHED, and RUNNING after"),
        ([CREATE, START, WAIT], Truth(RUNS, {JOB: 1}, [JOB], hurt=[JOB]), "it was FINISHED, and RUNNING after"),
        ([CREATE, ANEW, WAIT, info("RUNNING")], ENDED, "it was FINISHED, and RUNNING after"),
        ([CREATE, START, WAIT, info("FINISHED", reason=LOST)], ENDED, f"ended as exited, and as {LOST}"),
        ([CREATE, START, WAIT], Truth({JOB: [("FINISHED", LOST)]}, {JOB: 1}, hurt=[JOB]), f"exited, and as {LOST}"),
        ([CREATE, upload("a"), START, WAIT], ENDED, "uploaded is gone"),
        ([CREATE, upload("a"), START, WAIT, download(None)], Truth({}, {JOB: 1}, hurt=[JOB]), "uploaded is gone"),
        ([CREATE, upload("a")], Truth({JOB: [("NEW", None)]}, {}, files={JOB: None}, hurt=[JOB]), "uploaded is gone"),
        ([CREATE, START, STOP, REMOVE], Truth({}, {JOB: 0}), "began 0 times"),
        ([CREATE, START, WAIT, REMOVE], Truth({}, {JOB: 0}, tell_themselves=True), "began 0 times"),
        ([CREATE | {"outcome": PENDING}], Truth({}, {}), "has not ended"),
    ],
)
def test_what_can_not_have_happened_is_found(calls: list[Any], truth: Truth, words: str) -> None:
    broken = broken_promises(made(*calls), truth)
    assert any(words in each for each in broken), broken


@pytest.mark.parametrize(
    ("calls", "truth"),
    [
        ([CREATE, START, STOP, REMOVE], Truth({}, {JOB: 0}, tell_themselves=True)),
        ([CREATE], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE | {"outcome": UNKNOWN}], Truth({}, {})),
        ([CREATE | {"outcome": UNKNOWN}], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE, CREATE], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE, REMOVE], Truth({}, {})),
        ([CREATE, REMOVE | {"outcome": UNKNOWN}], Truth({}, {})),
        ([CREATE, REMOVE, {"verb": "info", "outcome": "job-not-found"}], Truth({}, {})),
        ([CREATE, {"verb": "info", "outcome": "agent-away"}], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE, {"verb": "info", "outcome": "job-not-found", "router": "r2"}], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE, START], Truth(RUNS, {JOB: 1}, [JOB])),
        ([CREATE, START, START], Truth(RUNS, {JOB: 1}, [JOB])),
        ([CREATE, START | {"outcome": UNKNOWN}], Truth({JOB: [("NEW", None)]}, {JOB: 0})),
        ([CREATE, START | {"outcome": "link-closed"}], Truth(RUNS, {JOB: 1}, [JOB])),
        ([CREATE, START], Truth({JOB: [("FINISHED", LOST)]}, {JOB: 1}, hurt=[JOB])),
        ([CREATE, START, WAIT], Truth({JOB: [("FINISHED", "exited")]}, {JOB: 1}, brief=[JOB])),
        ([CREATE, START, {"verb": "restart", "key": "r", "state": "RUNNING"}], Truth(RUNS, {JOB: 2}, [JOB])),
        ([CREATE, START, STOP, {"verb": "restart", "key": "r"}], Truth(RUNS, {JOB: 2}, [JOB])),
        ([CREATE, START, STOP | {"outcome": UNKNOWN}], Truth(RUNS, {JOB: 1}, [JOB])),
        (
            [CREATE, START | {"outcome": "start-failed"}],
            Truth({JOB: [("FINISHED", "start-failed")]}, {JOB: 0}, failing=[JOB]),
        ),
        ([CREATE, START], Truth({JOB: [("FINISHED", "orphaned")]}, {JOB: 1}, orphaned=[JOB])),
        ([CREATE, START, {"verb": "stop", "outcome": UNKNOWN}], Truth({JOB: [("FINISHED", "stopped")]}, {JOB: 1})),
        ([CREATE, upload("a"), upload("b", outcome=UNKNOWN)], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "a"})),
        ([CREATE, upload("a"), upload("b", outcome=UNKNOWN)], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "b"})),
        ([CREATE, upload("a", outcome=UNKNOWN), upload("b")], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "a"})),
        ([CREATE, upload("a"), upload("b", begun=1.2)], Truth({JOB: [("NEW", None)]}, {}, files={JOB: "a"})),
        ([CREATE, upload("a")], Truth({JOB: [("FINISHED", LOST)]}, {}, files={JOB: None}, hurt=[JOB])),
        ([CREATE, WAIT | {"state": "RUNNING", "timeout": True}], Truth(RUNS, {}, [JOB])),
        ([CREATE, told("NEW", 4), told("NEW", 1, boots=(2, 2))], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE, told("NEW", 4), told("NEW", 1, router="r2")], Truth({JOB: [("NEW", None)]}, {})),
        ([CREATE, START, info("FINISHED", reason="exited"), START], ENDED),
        ([CREATE, START, WAIT, ANEW, info("RUNNING")], Truth(RUNS, {JOB: 2}, [JOB])),
        ([CREATE, START, WAIT, info("RUNNING", place="other", router="r2")], ENDED),
        ([CREATE, START, WAIT, info("RUNNING", begun=2.2)], ENDED),
        ([CREATE, upload("a"), REMOVE, download(None)], Truth({}, {}, hurt=[JOB])),
        ([CREATE, upload("a"), download(None)], Truth({JOB: [("FINISHED", LOST)]}, {}, hurt=[JOB])),
    ],
)
def test_what_may_have_happened_is_taken(calls: list[Any], truth: Truth) -> None:
    assert broken_promises(made(*calls), truth) == []

"""Requests of every kind in any order on one connection, where the agent is an original: it is closed or in step."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from any_order import ENDING, KINDS, SAID, Asked, get
from conversing import answers, check
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from machine import EXAMPLES
from tortured import OnV1

NUMBERS = itertools.count()
ELSEWHERE = {
    "kept_by_an_old_client": replace(Asked(b""), ends=True),
    "some_verb": replace(Asked(b""), status=501),
    "until_close": replace(Asked(b""), begins=b"all of it"),
    "download": replace(Asked(b""), begins=SAID["204"]),
    "leave_to_send": replace(Asked(b""), begins=b"body"),
    "cut_by_a_reset": replace(Asked(b""), cut=True, ends=True),
    "refused": replace(Asked(b""), status=413, begins=b"no", ends=None),
}
"""What comes of these here; `get` begins otherwise, since queries are spelled anew."""
NOT_HERE = {"no_leave", "refused_early"}
"""The end of an answer is told only behind the end of the request's body, which in these never comes."""
CARRIED = sorted(set(KINDS) - NOT_HERE)
GOING_ON = st.sampled_from(sorted(set(CARRIED) - ENDING))


@pytest.fixture(scope="session")
def saying(v1_job: OnV1) -> OnV1:
    for name, data in SAID.items():
        v1_job.says(name, data)
    return v1_job


@given(
    st.lists(GOING_ON | GOING_ON | GOING_ON | st.sampled_from(CARRIED), min_size=1, max_size=7),
    st.booleans(),
    st.lists(st.floats(0, 1), max_size=6),
)
@settings(parent=EXAMPLES, phases=[Phase.generate])
async def test_each_is_answered_by_itself_and_errors_leave_it_closed_or_in_step(
    saying: OnV1, talk: list[str], ahead: bool, cuts: list[float]
) -> None:
    asked = [made(saying, kind) for kind in talk]
    last = KINDS["last"](saying, f"n{next(NUMBERS)}n", ())
    seen, rest, ended = await answers(saying, [*asked, last], ahead, cuts)
    assert rest == b""
    assert ended
    check([*asked, last], seen, ended)
    assert b"poison" not in b"".join(answer.body for answer in seen)


def made(job: OnV1, kind: str) -> Asked:
    asked = KINDS[kind](job, f"n{next(NUMBERS)}n", ())
    if kind == get.__name__:
        return replace(asked, begins=(asked.begins or b"").partition(b"?")[0])
    if kind in ELSEWHERE:
        other = ELSEWHERE[kind]
        return replace(asked, status=other.status, begins=other.begins, ends=other.ends, cut=other.cut)
    return asked

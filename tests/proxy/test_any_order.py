"""API and proxied requests of every kind in any order on one connection: each is authenticated by itself and has its
own answer, and whatever goes wrong leaves the connection closed or in step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from any_order import ENDING, KINDS, SAID, Asked, get
from conversing import answers, check
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from machine import EXAMPLES
from proxied import Proxied, joined

from prouter.testing import Fleet

TOKEN = "t" * 40
WHO = {
    "one": (f"X-Prouter-Token: {TOKEN}",),
    "the same": (f"Authorization: Bearer {TOKEN}",),
    "nobody": (),
    "a stranger": ("X-Prouter-Token: wrong",),
    "another": (f"Authorization: Bearer {TOKEN}x",),
    "one in a cookie": (f"Cookie: X-Prouter-Token={TOKEN}",),
}
GOOD = ("one", "the same")
NUMBERS = itertools.count()
HEADS = re.compile(rb"[A-Z]+ /(?!jobs/).*? HTTP/1\.1\r\n.*?\r\n\r\n", re.DOTALL)
"""What the job got, but for requests that it got in the body of one that said that it is longer."""


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A job behind a router that wants a token."""
    fleet = Fleet(tmp_path_factory.mktemp("guarded"))
    try:
        job = joined(fleet, f"control.tokens=['{TOKEN}']", token=TOKEN)()
        for name, data in SAID.items():
            job.says(name, data)
        yield job
    finally:
        fleet.close()
    assert not fleet.error_lines()


GOING_ON = st.sampled_from(sorted(set(KINDS) - ENDING))
TALK = st.lists(
    st.tuples(GOING_ON | GOING_ON | GOING_ON | st.sampled_from(sorted(KINDS)), st.sampled_from([*GOOD * 4, *WHO])),
    min_size=1,
    max_size=9,
)


@given(TALK, st.booleans(), st.lists(st.floats(0, 1), max_size=6))
@settings(parent=EXAMPLES, phases=[Phase.generate])
async def test_each_is_answered_by_itself_and_errors_leave_it_closed_or_in_step(
    guarded: Proxied, talk: list[tuple[str, str]], ahead: bool, cuts: list[float]
) -> None:
    """`ahead`: all is sent at once, cut in pieces; else each when the one before is answered.

    An example that fails is not made smaller: one that hangs takes its time whenever it is tried.
    """
    asked = [made(guarded, kind, who) for kind, who in talk]
    mark = f"n{next(NUMBERS)}n"
    asked.append((mark, get(guarded, mark, (*WHO["one"], "Connection: close"))))
    told = [each for _, each in asked]
    seen, rest, ended = await answers(guarded, told, ahead, cuts)
    assert rest == b""
    assert ended  # the last one wants it
    check(told, seen, ended)
    heads = HEADS.findall(b"".join(guarded.heard))
    assert heads
    assert not any(TOKEN.encode() in head for head in heads)
    assert b"poison" not in b"".join(answer.body for answer in seen)
    over = next(number for number, (_, each) in enumerate(asked) if each.ends or number == len(asked) - 1)
    for number, (name, each) in enumerate(asked):
        most = int(each.reaches and number <= over)
        times = sum(name.encode() in head.partition(b"\r\n")[0] for head in heads)
        assert times <= most + each.cut  # a reset before the first byte is as good as none


def made(job: Proxied, kind: str, who: str) -> tuple[str, Asked]:
    name = f"n{next(NUMBERS)}n"
    asked = KINDS[kind](job, name, WHO[who])
    if who in GOOD or not asked.checked:
        return name, asked
    return name, Asked(asked.data, asked.method, 401, ends=asked.ends and None, reaches=False)

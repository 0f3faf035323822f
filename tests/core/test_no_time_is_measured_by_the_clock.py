"""R16: nothing of prouter counts seconds by the clock of the day, which may jump: agents, routers, keepers, guardians.

That clock says when something happened, for people. What waits, ends or measures counts by one that nobody sets:
`time.monotonic`, the loop's own, CLOCK_BOOTTIME. Tried in tests/faults/test_clocks_that_jump_change_nothing.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import prouter

HOME = Path(prouter.__file__).parent
CLOCKS = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now")
ALLOWED: Mapping[str, str] = {
    "agent/guard/held/controllers.py": "since when files are of this run, which the disk tells by this clock alone",
    "agent/files/parts.py": "how old a file is that an earlier run left, which the disk tells by this clock alone",
    "agent/jobs/kept.py": "how long ago a job ended in an earlier run of the machine, where there is nothing else",
    "core/queue/line.py": "until when a job waits, as people are told it",
    "core/told.py": "when something began that has taken so many seconds, for people",
}


def of_the_day(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith(CLOCKS)


def counted(source: str) -> Iterator[str]:
    """Where such a time is added, subtracted or compared, also by a name or an attribute that it was given to."""
    tree = ast.parse(source)
    told = {ast.unparse(target) for target in given(tree)}
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, right=right):
                operands = [left, right]
            case ast.AugAssign(target=target, value=value):
                operands = [target, value]
            case ast.Compare(left=left, comparators=others):
                operands = [left, *others]
            case _:
                continue
        if any(of_the_day(each) or ast.unparse(each) in told for each in operands):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def given(tree: ast.AST) -> Iterator[ast.expr]:
    """All names and attributes that such a time is assigned to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    yield from (
                        one for one, other in zip(target.elts, node.value.elts, strict=True) if of_the_day(other)
                    )
                elif of_the_day(node.value):
                    yield target
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None and of_the_day(node.value):
            yield node.target


def test_no_time_is_measured_by_the_clock() -> None:
    found = {
        str(place.relative_to(HOME)): list(counted(place.read_text("utf-8"))) for place in sorted(HOME.rglob("*.py"))
    }
    assert len(found) > 100
    assert {place: lines for place, lines in found.items() if lines and place not in ALLOWED} == {}
    assert {place for place, lines in found.items() if lines} == ALLOWED.keys(), "what is allowed is there no more"


@pytest.mark.parametrize(
    "source",
    [
        "late = time.time() - begun > 3",
        "until = time.time() + 3",
        "while time.time() < until: pass",
        "self.at = time.time()\nif now - self.at > 3: pass",
        "a, at = None, time.time()\nprint(now - at)",
        "at: float = datetime.now()\nat += seconds",
    ],
)
def test_that_would_be_seen(source: str) -> None:
    assert list(counted(source))


def test_a_time_for_people_is_none_of_that() -> None:
    assert not list(counted("kept = {'at': time.time()}\nbegun = time.monotonic()\nseconds = time.monotonic() - begun"))

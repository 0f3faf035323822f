"""The activity of a job on the wire: an agent is not trusted to tell numbers."""

from __future__ import annotations

import math

import pytest

from prouter.model.activity import Activity


def test_it_comes_back_as_it_was() -> None:
    told = Activity(2, 10, 20, 1_700_000_000.25)
    assert Activity.from_wire(told.to_wire()) == told
    assert told.shown()["last_activity"] == "2023-11-14T22:13:20.250Z"


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1, 2, 3],
        [0, 0, 0, 1e300],
        [0, 0, 0, math.nan],
        [math.inf, 0, 0, None],
        [None, 0, 0, None],
        5,
        ["x", 0, 0, 0],
    ],
)
def test_what_is_none_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Activity.from_wire(value)  # type: ignore[arg-type]

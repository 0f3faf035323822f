"""Records as agents tell them: what could not be shown to clients is no record."""

from __future__ import annotations

import math
from typing import Any

import pytest

from prouter.model.jobs import JobRecord

GOOD: dict[str, Any] = {"uid": "a" * 32, "state": "RUNNING", "created_at": 1.0, "pid": 7, "exit_code": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": math.nan},
        {"created_at": math.inf},
        {"finished_at": 1e300},
        {"started_at": "now"},
        {"pid": b"x"},
        {"pid": 2**70},
        {"exit_code": 1.5},
        {"ports": [{"name": "http", "number": b"80"}]},
    ],
    ids=repr,
)
def test_what_can_not_be_shown_is_no_record(wrong: dict[str, Any]) -> None:
    assert JobRecord.from_wire(GOOD).pid == 7
    with pytest.raises((TypeError, ValueError)):
        JobRecord.from_wire(GOOD | wrong)

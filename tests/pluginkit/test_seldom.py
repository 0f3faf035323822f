"""Lines that somebody could cause as often as they like."""

from __future__ import annotations

import logging

import pytest

from prouter.pluginkit import seldom
from prouter.pluginkit.seldom import SeldomLog


@pytest.mark.parametrize("at_once", [1, 3])
def test_so_many_at_once_and_then_how_many_were_left_out(
    at_once: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 5.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = SeldomLog(logging.getLogger("prouter.tests"), at_once)
    for number in range(10):
        lines.warn("it is %d", number)
    now += seldom.SECONDS
    lines.warn("it is %d", 10)
    now += seldom.SECONDS
    lines.warn("it is %d", 11)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        *(f"it is {number}" for number in range(at_once)),
        f"it is 10 (and {10 - at_once} more like it)",
        "it is 11",
    ]

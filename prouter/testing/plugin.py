"""The pytest plugin: the fixture `fleet`, which leaves nothing behind or fails the test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prouter.testing.fleet import Fleet
from prouter.testing.processes import tagged_processes

GONE_SECONDS = 5.0
"""For what a daemon started to be gone after it; twice what is promised, since machines are slow."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Real routers and agents. After the test all are ended; a process that is left, or an ERROR line, fails it."""
    made = Fleet(tmp_path)
    try:
        yield made
    finally:
        made.close()
    deadline = time.monotonic() + GONE_SECONDS
    while (left := tagged_processes(made.tag)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"processes are left over: {left}"
    errors = made.error_lines()
    assert not errors, "ERROR lines in a daemon's log:\n" + "\n".join(errors)

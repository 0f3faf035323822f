"""The pytest plugin: fixtures that leave nothing behind or fail the test. Imports nothing before it is asked for.

`fleet` has real processes; `router`, `agent`, `job` and `in_process` are async and need pytest-asyncio (fixtures.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prouter.testing.wanted import Setup

if TYPE_CHECKING:
    from prouter.testing.fleet import Fleet

GONE_SECONDS = 5.0
"""For what a daemon started to be gone after it; twice what is promised, since machines are slow."""
MARK = (
    "prouter(plugins, settings, agent_plugins, agent_settings, token, processes): what the fixtures router, agent and "
    "job are made of; see prouter.testing.Setup"
)
ASYNC_FIXTURES = ("in_process", "router", "agent", "job")

if find_spec("pytest_asyncio") is not None:
    from prouter.testing.fixtures import agent, in_process, job, router

    __all__ = ["agent", "in_process", "job", "router"]
else:

    def _needs_asyncio(name: str) -> Any:
        @pytest.fixture(name=name)
        def missing() -> None:
            pytest.fail(f"the fixture {name} needs pytest-asyncio: install prouter[testing]", pytrace=False)

        return missing

    in_process, router, agent, job = (_needs_asyncio(name) for name in ASYNC_FIXTURES)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


@pytest.fixture
def prouter_setup() -> Setup:
    """Override it for the tests of a module or directory; marks add to it."""
    return Setup()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Real routers and agents. After the test all are ended; a process that is left, or an ERROR line, fails it."""
    from prouter.testing.fleet import Fleet
    from prouter.testing.processes import tagged_processes

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

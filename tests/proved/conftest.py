"""Tests that prove by a model: what they share with the tests of faults, whose history and figures they use.

The long form, `make bench-reliability`, tries many more orders and moments (figures.LONG) and has as much time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "faults"))

from figures import LONG, Figures

LONG_SECONDS = 5400.0


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """As in tests/faults."""
    return Figures(request.config.rootpath / "out" / "reliability.json", request.node.nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if LONG and here in item.path.parents:
            item.add_marker(pytest.mark.timeout(LONG_SECONDS), append=False)  # the first one counts

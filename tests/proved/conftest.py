"""Tests that prove by a model: what they share with the tests of faults, whose history and figures they use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "faults"))

from figures import Figures


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """As in tests/faults."""
    return Figures(request.config.rootpath / "out" / "reliability.json", request.node.nodeid)

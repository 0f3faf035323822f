"""Imitations of the original router and agent for one test; after it they are gone and complained of nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imitations import Imitation, Originals

sys.path.append(str(Path(__file__).parent.parent / "rpc"))  # the recordings are read by a module there
sys.path.append(str(Path(__file__).parent.parent / "proxy"))  # the jobs and clients that torture a proxy

from tortured import OnV1, jobs_on_v1


@pytest.fixture
def originals(tmp_path: Path) -> Iterator[Originals]:
    """Ends them all after the test. A line VIOLATION that the test did not expect fails it."""
    made = Originals(tmp_path)
    try:
        yield made
    finally:
        made.close()
    complaints = made.complaints()
    assert not complaints, "an imitation complains:\n" + "\n".join(complaints)


@pytest.fixture
def imitation_agent(originals: Originals) -> Callable[..., Imitation]:
    """`imitation_agent(router="HOST:PORT", token="...")` dials; without a router it waits to be dialed."""
    return originals.agent


@pytest.fixture
def imitation_router(originals: Originals) -> Callable[..., Imitation]:
    """`imitation_router(token="...")` accepts agents with that token."""
    return originals.router


@pytest.fixture(scope="session")
def make_v1_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OnV1]]:
    """`make_v1_job("sockets.py")`: a job of ../proxy/apps on an original agent behind our router, which all share."""
    with jobs_on_v1(tmp_path_factory.mktemp("v1")) as make:
        yield make


@pytest.fixture(scope="session")
def v1_job(make_v1_job: Callable[..., OnV1]) -> OnV1:
    """torture.py."""
    return make_v1_job()

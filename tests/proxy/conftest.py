"""One fleet for all tests of this directory that need no settings of their own, and one job that outlives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from proxied import Proxied, joined

from prouter.testing import Fleet


@pytest.fixture(scope="session")
def make_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Proxied]]:
    """Jobs on a fleet that is shared: for tests that end their job or want it alone."""
    fleet = Fleet(tmp_path_factory.mktemp("proxy"))
    try:
        yield joined(fleet)
    finally:
        fleet.close()
    assert not fleet.error_lines()


@pytest.fixture(scope="session")
def shared_job(make_job: Callable[..., Proxied]) -> Proxied:
    return make_job()


@pytest.fixture
def job(shared_job: Proxied) -> Proxied:
    """A job that runs apps/torture.py."""
    return shared_job

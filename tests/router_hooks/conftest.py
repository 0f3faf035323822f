"""The jobs of the proxy's own tests, behind a router whose listener is told what happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hearing import Heard

sys.path.append(str(Path(__file__).parent.parent / "proxy"))

from proxied import Proxied, joined

from prouter.testing import Fleet


@pytest.fixture(scope="session")
def listened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Heard, Proxied, Proxied]]:
    """A listener, a job that runs torture.py and one that runs sockets.py."""
    place = tmp_path_factory.mktemp("listened")
    heard, fleet = Heard(place, "proxy_finished"), Fleet(place)
    try:
        make = joined(fleet, f"plugins.load=[{str(heard.plugin)!r}]")
        yield heard, make(), make("sockets.py")
    finally:
        fleet.close()
    assert not fleet.error_lines()


@pytest.fixture
def heard(listened: tuple[Heard, Proxied, Proxied]) -> Heard:
    return listened[0]


@pytest.fixture
def job(listened: tuple[Heard, Proxied, Proxied]) -> Proxied:
    return listened[1]


@pytest.fixture
def sockets(listened: tuple[Heard, Proxied, Proxied]) -> Proxied:
    return listened[2]

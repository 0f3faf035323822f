"""What stands at the other end of the link: an imitation of the original router, or a caller made of its messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / "originals"), str(HERE.parent / "rpc")]  # the imitations, and who reads the recordings

from imitations import Originals  # noqa: E402


@pytest.fixture
def originals(tmp_path: Path) -> Iterator[Originals]:
    """Ends them all after the test, which fails when one complained."""
    made = Originals(tmp_path)
    try:
        yield made
    finally:
        made.close()
    complaints = made.complaints()
    assert not complaints, "an imitation complains:\n" + "\n".join(complaints)

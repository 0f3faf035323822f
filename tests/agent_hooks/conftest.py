"""What these tests share: what plugins told, and a peer that speaks as an original router does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from witness import Told

sys.path.append(str(Path(__file__).parent.parent / "originals"))  # bare_peer, a module there


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)

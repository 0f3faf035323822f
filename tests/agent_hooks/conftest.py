"""What these tests share: what plugins told, and a peer that speaks as an original router does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from witness import Told

for beside in ("originals", "job_output"):  # bare_peer and telling, modules there
    sys.path.append(str(Path(__file__).parent.parent / beside))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)

"""Where a module of another directory of tests is found that these tests use."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "originals"))  # bare_peer, a module there

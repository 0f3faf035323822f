"""What tests of dying guardians look at (held_trees.py) is looked at here, too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "faults"))

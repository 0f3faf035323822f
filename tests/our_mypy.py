"""How tests run mypy: as the gate does before them, whose cache has all that is imported: only what is new takes time.

Our own configuration is strict and more; another one, or another directory, would make mypy look at everything anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 200


def mypy(*words: str | Path, sources: Iterable[str | Path] = ()) -> tuple[int, str]:
    """Exit status and what it says of what `words` name. Modules are found in `sources`, too."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout + done.stderr

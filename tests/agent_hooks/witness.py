"""What plugins of these tests tell of themselves: lines of a file that the agent's environment names."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "AGENT_HOOKS_TOLD"


def tell(text: str) -> None:
    """From a plugin, in the agent's process."""
    with Path(os.environ[VARIABLE]).open("a") as file:
        file.write(text + "\n")


class Told:
    """For the test: the same file."""

    def __init__(self, place: Path) -> None:
        self._file = place / "told"
        self.environ = {VARIABLE: str(self._file)}

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)

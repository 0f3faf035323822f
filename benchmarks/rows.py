"""Raw rows, kept as JSON lines: what was measured where and how is the first line, each row one more."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Measured:
    """One run."""

    about: Mapping[str, Any]
    """The machine, the versions, when, and with which options."""
    rows: tuple[Row, ...]

    def values(self, figure: str, **which: Any) -> list[float]:
        """Of all rows that have the figure and are like `which`."""
        rows = (row for row in self.rows if all(row.get(name) == value for name, value in which.items()))
        return [row[figure] for row in rows if figure in row]

    def median(self, figure: str, **which: Any) -> float | None:
        """None where it was not measured."""
        found = self.values(figure, **which)
        return statistics.median(found) if found else None


class Keeper:
    """Writes rows as they come, so that a run that breaks has left what it measured."""

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._about = about
        self._rows: list[Row] = []
        file.write_text(_line(about))

    def add(self, row: Row) -> None:
        self._rows.append(row)
        with self._file.open("a") as out:
            out.write(_line(row))

    def measured(self) -> Measured:
        return Measured(self._about, tuple(self._rows))


def read(file: Path) -> Measured:
    about, *rows = (json.loads(line) for line in file.read_text().splitlines())
    return Measured(about, tuple(rows))


def without_noise(figures: Mapping[str, float]) -> dict[str, float]:
    """Six digits are more than any of them is worth."""
    return {name: float(f"{value:.6g}") for name, value in figures.items()}


def in_order(found: Iterable[str]) -> list[str]:
    """Each once, in the order in which they came."""
    return list(dict.fromkeys(found))


def _line(what: Mapping[str, Any]) -> str:
    return json.dumps(what) + "\n"

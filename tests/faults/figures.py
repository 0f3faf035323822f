"""What the tests of this directory measured, in out/reliability.json: kept over tests, workers and runs.

Belongs here: how figures are written down, of which machine they are, whether this is the long form. Does not: how
something is measured (sampling.py), and whether a figure fails a test: tests assert by themselves, and never a speed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONG = os.environ.get("PROUTER_RELIABILITY") == "long"
"""`make bench-reliability`: full sizes and times; otherwise timers are compressed by configuration and sizes small."""


class Figures:
    """Writes to the file at `place`; a figure replaces the one of the same name and form of an earlier run."""

    def __init__(self, place: Path, test: str = "") -> None:
        self._place = place
        self._test = test

    def record(
        self,
        row: str,
        name: str,
        value: float,
        *,
        goal: float | str | None = None,
        unit: str = "",
        holds: bool | None = None,
    ) -> None:
        """`row` is the promise's id ("R9"); `holds` is None where nothing is promised. A full disk fails no test."""
        figure = {
            "row": row,
            "name": name,
            "value": round(value, 4),
            "unit": unit,
            "goal": goal,
            "holds": holds,
            "form": "long" if LONG else "short",
            "test": self._test,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with contextlib.suppress(OSError), self._alone():
            self._write(figure)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Tests that run side by side write one after the other."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        with self._place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, figure: dict[str, Any]) -> None:
        def key(each: dict[str, Any]) -> tuple[str, str, str]:
            return each["row"], each["name"], each["form"]

        try:
            earlier = json.loads(self._place.read_text("utf-8"))["figures"]
        except (OSError, ValueError, KeyError):
            earlier = []
        figures = sorted([each for each in earlier if key(each) != key(figure)] + [figure], key=key)
        fresh = self._place.with_suffix(".new")
        fresh.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", "utf-8")
        fresh.replace(self._place)


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "model": _first("/proc/cpuinfo", "model name"),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _first(place: str, name: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path(place).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return "?"

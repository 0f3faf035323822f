"""What the tests of this directory measured, in out/reliability.json: kept over tests, workers and runs.

Belongs here: how figures are written down, of which machine they are, whether this is the long form. Does not: how
something is measured (sampling.py), which rows there must be (promised.py), and whether a figure fails a test: tests
assert by themselves, and never a speed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FORMS = ("short", "long")
FORM = "long" if os.environ.get("PROUTER_RELIABILITY") == "long" else "short"
LONG = FORM == "long"
"""`make bench-reliability`: full sizes and times; otherwise timers are compressed by configuration and sizes small."""
PARTS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
"""Of a distribution: which of its percentiles are kept."""
MOST_SECONDS = 1e6
"""What is never over is written down as this, since JSON knows no infinity."""
TIMES = "reliability-times.jsonl"
"""Beside the figures: how long each test took."""
MOST_TIMES_BYTES = 1024 * 1024
"""Some hundred runs; then it begins anew."""


class Figures:
    """Writes to the file at `place`. The first figure of a test replaces all that earlier runs left of its form."""

    def __init__(self, place: Path, test: str = "") -> None:
        self._place = place
        self._test = test
        self._began = time.monotonic()
        self._wrote = False
        self._commit = commit()

    def record(
        self,
        row: str,
        name: str,
        value: float,
        *,
        goal: float | str | None = None,
        unit: str = "",
        holds: bool | None = None,
        spread: Sequence[float] = (),
    ) -> None:
        """`row` is the promise's id ("R9"); a `goal` that is a number is the most that `value` may be, unless `holds`
        says whether it is reached. `spread` is each single value of many, of which `value` is the worst or a part.

        A name says what is counted and never how often, so that a later figure of another size replaces it. A full
        disk fails no test.
        """
        if holds is None and isinstance(goal, int | float):
            holds = value <= goal
        figure = {
            "row": row,
            "name": name,
            "value": round(value if math.isfinite(value) else MOST_SECONDS, 4),
            "unit": unit,
            "goal": goal,
            "holds": holds,
            "form": FORM,
            "test": self._test,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "took": round(took := time.monotonic() - self._began, 1),
            "commit": self._commit,
            "load": round(load_over(took), 1),
            "machine": on(machine()),
        }
        if spread:
            figure |= {"count": len(spread), "percentiles": percentiles(spread)}
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
        earlier = read(self._place)
        if not self._wrote and self._test:  # what an earlier version of this test called otherwise is not measured now
            mine = self._test, figure["form"]
            earlier = [each for each in earlier if (each.get("test"), each["form"]) != mine]
        self._wrote = True
        merged = merge(earlier, [figure])
        fresh = self._place.with_suffix(".new")
        fresh.write_text(json.dumps({"machine": machine(), "figures": merged}, indent=1) + "\n", "utf-8")
        fresh.replace(self._place)


def read(place: Path) -> list[dict[str, Any]]:
    """Those that are in the file; none where it is not there or is none of ours."""
    try:
        found: list[dict[str, Any]] = json.loads(place.read_text("utf-8"))["figures"]
    except (OSError, ValueError, KeyError):
        return []
    return found


def merge(earlier: Sequence[dict[str, Any]], later: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All, in order; of the same row, name and form the later one."""
    found = {(each["row"], each["name"], each["form"]): each for each in (*earlier, *later)}
    return [found[key] for key in sorted(found)]


def took(place: Path, test: str, seconds: float) -> None:
    """Write down that a test, or a part of it, took so long; `place` is that of the figures."""
    line = json.dumps({"test": test, "form": FORM, "at": round(time.time()), "took": round(seconds, 2)}) + "\n"
    file = place.with_name(TIMES)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size > MOST_TIMES_BYTES:
            file.unlink()
        with file.open("a") as out:  # in one write, whoever else writes
            out.write(line)


def load_over(seconds: float) -> float:
    """The load average until now over the kernel's time that is nearest to it: 1, 5 or 15 minutes."""
    one, five, fifteen = os.getloadavg()
    return one if seconds < 150 else five if seconds < 600 else fifteen


@functools.cache
def commit() -> str:
    """Of what is tested, with a + where files differ from it; empty where nobody knows."""
    words = ["git", "--no-optional-locks", "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+"]
    try:
        done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def percentiles(values: Sequence[float]) -> list[float]:
    """Those of PARTS."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [round(ordered[math.ceil(last * part / 100)], 4) for part in PARTS]


@functools.cache
def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "model": _first("/proc/cpuinfo", "model name"),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def on(machine: dict[str, Any]) -> str:
    """In a line."""
    kib = machine["memory"].partition(" ")[0]
    memory = f"{int(kib) / 2**20:.0f} GiB" if kib.isdecimal() else kib
    return f"{machine['cpus']} CPUs ({machine['model']}), {memory}, Python {machine['python']}"


def _first(place: str, name: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path(place).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return "?"

"""How late a daemon's event loop gets to what is due: a plugin that looks again and again from inside.

Belongs here: the lag, and how much of it was waiting for a processor that others had. Does not: what is promised of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter import hookimpl

EVERY_SECONDS = 0.005
WRITE_SECONDS = 0.5
FILE = "lag.jsonl"


class LoopLag:
    """For `fleet.router(plugins=[LoopLag])`: writes down what it sees, in lines, in the daemon's working directory."""

    @hookimpl
    def prouter_startup(self, router: Any) -> None:
        router.tasks.start("look at the loop's lag", self._look())

    async def _look(self) -> None:
        loop, late, written_at = asyncio.get_running_loop(), list[float](), time.monotonic()
        busy = list[float]()
        while True:
            due, began = loop.time() + EVERY_SECONDS, time.thread_time()
            await asyncio.sleep(EVERY_SECONDS)
            late.append(round(max(0.0, loop.time() - due), 5))
            busy.append(round(time.thread_time() - began, 5))
            if time.monotonic() - written_at > WRITE_SECONDS:
                ran, waited = (int(word) / 1e9 for word in Path("/proc/self/schedstat").read_text().split()[:2])
                with Path(FILE).open("a") as out:
                    out.write(json.dumps({"late": late, "busy": busy, "ran": ran, "waited": waited}) + "\n")
                late, busy, written_at = [], [], time.monotonic()


@dataclass(frozen=True, slots=True)
class Seen:
    """All in seconds."""

    late: list[float]
    busy: list[float]
    """Processor time that the loop's thread took between two looks: what it would be late where nobody else works."""
    ran: float
    """For how long the main thread had a processor, from its beginning on."""
    waited: float
    """For one that others had."""


def seen(place: Path) -> Seen:
    """Of the daemon in that directory.

    A pause of a second is one look that came late, but two hundred that should have been: those count, too.
    """
    lines = [json.loads(line) for line in (place / FILE).read_text().splitlines()]
    late = [lag for line in lines for lag in line["late"]]
    busy = [seconds for line in lines for seconds in line["busy"]]
    return Seen(as_if_always(late), busy, lines[-1]["ran"], lines[-1]["waited"])


def as_if_always(late: Sequence[float]) -> list[float]:
    """What would have been seen by somebody who looks at fixed times and waits for nothing."""
    found = []
    for lag in late:
        found.append(lag)
        while (lag := lag - EVERY_SECONDS) > 0:
            found.append(lag)
    return found

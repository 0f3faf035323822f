"""Jobs that a request with an Idempotency-Key removed, as they were: who asks again is told, by any router.

Belongs here: what is kept of them, a small file each, and which routers were told. Does not: how a job is removed
(job.py), what a router makes of it (core/agents/directory.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prouter.errors import StartupError
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord
from prouter.pluginkit.durable import FRESH, TORN, replace_file

log = logging.getLogger(__name__)

MAX_REMOVALS = 256
"""Newest ones that are kept."""
SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Removal:
    """One that was asked for with a key. `number` grows with each of this run."""

    number: int
    key: str
    before: JobRecord


class Removals:
    """Those of one agent, each on disk before the job goes where there is room for that."""

    def __init__(self, directory: Path) -> None:
        """Reads what earlier runs kept; blocks. Raises StartupError."""
        self._directory = directory
        self._known: dict[tuple[JobUid, str], Removal] = {}
        """Oldest first."""
        self._numbers = 0
        self.told: Callable[[], None] = lambda: None
        """Called when there is a new one."""
        self._read()

    def outcome(self, job: JobUid, key: str) -> JobRecord | None:
        """The job as it was before a request with this key removed it; None: there was none."""
        found = self._known.get((job, key))
        return found.before if found is not None else None

    def newer_than(self, number: int) -> Sequence[Removal]:
        """Oldest first."""
        return [removal for removal in self._known.values() if removal.number > number]

    async def keep(self, key: str, before: JobRecord) -> None:
        """A removal must be possible on a full disk: then its key is forgotten with this run of the agent."""
        oldest = self._learn(key, before)
        self.told()
        try:
            await asyncio.to_thread(self._write, key, before, oldest)
        except OSError as error:
            log.warning("the key of the removal of job %s is not on disk: %s", before.uid, error.strerror)

    def _learn(self, key: str, before: JobRecord) -> Sequence[Removal]:
        """Those that are too many now."""
        self._numbers += 1
        self._known.pop((before.uid, key), None)
        self._known[before.uid, key] = Removal(self._numbers, key, before)
        oldest = list(self._known.values())[: max(0, len(self._known) - MAX_REMOVALS)]
        for removal in oldest:
            del self._known[removal.before.uid, removal.key]
        return oldest

    def _place(self, job: JobUid, key: str) -> Path:
        digest = hashlib.sha256(f"{job} {key}".encode("utf-8", "surrogatepass")).hexdigest()
        return self._directory / f"{digest}{SUFFIX}"

    def _write(self, key: str, before: JobRecord, oldest: Sequence[Removal]) -> None:
        self._forget(oldest)
        kept = {"key": key, "at": time.time(), "job": before.to_wire()}
        replace_file(self._place(before.uid, key), json.dumps(kept).encode())

    def _forget(self, oldest: Sequence[Removal]) -> None:
        for removal in oldest:
            with contextlib.suppress(OSError):
                self._place(removal.before.uid, removal.key).unlink()

    def _read(self) -> None:
        found: list[tuple[float, str, JobRecord]] = []
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for place in self._directory.iterdir():
                if place.name.endswith(FRESH):
                    place.unlink()
                elif place.name.endswith(SUFFIX):
                    found.extend(_kept(place))
        except OSError as error:
            raise StartupError(f"{self._directory} can not be read: {error.strerror}") from error
        for _, key, before in sorted(found, key=lambda kept: kept[0]):
            self._forget(self._learn(key, before))


def _kept(place: Path) -> Sequence[tuple[float, str, JobRecord]]:
    """When, the key, and the job; empty for a file that holds none, which is deleted: its key is forgotten."""
    try:
        kept = json.loads(place.read_bytes())
        return [(float(kept["at"]), str(kept["key"]), JobRecord.from_wire(kept["job"]))]
    except (OSError, *TORN, AttributeError) as error:
        log.warning("%s holds no removal and is deleted (%s)", place, type(error).__name__)
        with contextlib.suppress(OSError):
            place.unlink()
        return []

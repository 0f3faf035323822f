"""What is asked twice is done once: requests with an Idempotency-Key, remembered for each job.

The keys are in the job's record on disk before what they stand for is begun; how it went is known to this run of the
agent only. After a restart of the agent a repeated request is told the job as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from prouter.errors import Conflict, ProuterError, StartFailed
from prouter.model.jobs import JobRecord

MAX_KEYS = 32
"""Of one job; the oldest is forgotten."""
Begin = Callable[[], asyncio.Future[JobRecord]]


class Once:
    """The keys of one job, each with a digest of what was asked."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.keys = dict(known)
        self._outcomes: dict[str, asyncio.Future[JobRecord]] = {}

    async def do(self, key: str | None, asked: Any, begin: Begin, current: Callable[[], JobRecord]) -> JobRecord:
        """`begin` the work, or wait for what the same key began. What it begins goes on when the caller is gone.

        `asked` is anything that json can write. Raises Conflict for a key that stood for something else.
        """
        if key is None:
            return await asyncio.shield(begin())
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        if key in self.keys:
            if self.keys[key] != digest:
                raise Conflict("this Idempotency-Key was used before, for another request")
            outcome = self._outcomes.get(key)
            return await asyncio.shield(outcome) if outcome is not None else current()
        self.keys[key] = digest
        while len(self.keys) > MAX_KEYS:
            self._forget(next(iter(self.keys)))
        outcome = self._outcomes[key] = begin()
        outcome.add_done_callback(lambda done: self._settle(key, done))
        return await asyncio.shield(outcome)

    def _settle(self, key: str, outcome: asyncio.Future[JobRecord]) -> None:
        """What was refused before anything was begun may be asked again."""
        if outcome.cancelled():
            self._forget(key)
            return
        error = outcome.exception()
        if isinstance(error, ProuterError) and not isinstance(error, StartFailed):
            self._forget(key)

    def _forget(self, key: str) -> None:
        self.keys.pop(key, None)
        self._outcomes.pop(key, None)

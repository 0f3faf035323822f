"""What is asked twice is done once: requests with an Idempotency-Key, remembered for each job.

The keys are in the job's record on disk before what they stand for is begun, and with them how a start failed. After a
restart of the agent a repeated request is told that failure, or the job as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from prouter.errors import Conflict, ProuterError, StartFailed, from_wire
from prouter.model.jobs import JobRecord

MAX_KEYS = 32
"""Of one job; the oldest is forgotten."""
MAX_DETAIL = 4096
"""Characters of what is kept of a failure: its words, and the last lines of output."""
Begin = Callable[[], asyncio.Future[JobRecord]]


class Once:
    """The keys of one job, each with a digest of what was asked."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        """`known` is what `to_wire` gave an earlier run; what makes no sense in it is left out."""
        keys, failures = known.get("keys"), known.get("failures")
        self._keys = {str(key): str(asked) for key, asked in keys.items()} if isinstance(keys, Mapping) else {}
        self._failures: dict[str, tuple[str, str]] = {}
        """By key: the error's name on the wire and its detail."""
        for key, failure in failures.items() if isinstance(failures, Mapping) else ():
            if key in self._keys and isinstance(failure, list) and len(failure) == 2:
                self._failures[key] = (str(failure[0]), str(failure[1]))
        self._outcomes: dict[str, asyncio.Future[JobRecord]] = {}

    def to_wire(self) -> dict[str, Any]:
        """For the job's record file."""
        return {"keys": dict(self._keys), "failures": {key: list(found) for key, found in self._failures.items()}}

    def knows(self, key: str | None) -> bool:
        """Whether something was asked for with this key."""
        return key in self._keys

    async def do(self, key: str | None, asked: Any, begin: Begin, current: Callable[[], JobRecord]) -> JobRecord:
        """`begin` the work, or wait for what the same key began. What it begins goes on when the caller is gone.

        `asked` is anything that json can write. Raises Conflict for a key that stood for something else, and what
        `begin` raises: nothing was begun then, and the key may be used again.
        """
        if key is None:
            return await asyncio.shield(begin())
        digest = _digest(asked)
        if key in self._keys:
            if self._keys[key] != digest:
                raise Conflict("this Idempotency-Key was used before, for another request")
            if key in self._outcomes:
                return await asyncio.shield(self._outcomes[key])
            if key in self._failures:
                raise from_wire(*self._failures[key])
            return current()
        outcome = self._outcomes[key] = begin()
        self._keys[key] = digest
        while len(self._keys) > MAX_KEYS:
            self._forget(next(iter(self._keys)))
        outcome.add_done_callback(lambda done: self._settle(key, done))
        return await asyncio.shield(outcome)

    def resume(self, asked: Any, outcome: asyncio.Future[JobRecord]) -> None:
        """What an earlier run of the agent was asked so goes on: who asks again waits for that."""
        digest = _digest(asked)
        for key, known in self._keys.items():
            if known == digest:
                self._outcomes[key] = outcome

    def note_failure(self, key: str | None, error: BaseException) -> None:
        """What a start with this key is about to fail with, for the next run of the agent."""
        if key is not None and key in self._keys and isinstance(error, StartFailed):
            self._failures[key] = (error.wire_name(), error.detail[-MAX_DETAIL:])

    def _settle(self, key: str, outcome: asyncio.Future[JobRecord]) -> None:
        """What was refused before anything was begun may be asked again."""
        if outcome.cancelled():
            self._forget(key)
            return
        error = outcome.exception()
        if isinstance(error, ProuterError) and not isinstance(error, StartFailed):
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._keys.pop(key, None)
        self._failures.pop(key, None)
        self._outcomes.pop(key, None)


def _digest(asked: Any) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

"""What is asked twice with one Idempotency-Key is done once, for work that no job's own record remembers.

Bounded, and this process's memory only: after its restart a repeated request is a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from prouter.errors import Conflict

T = TypeVar("T")


class Repeats:
    """Implements model.repeats.Repeats: the newest `most` of what was asked for, each with its outcome."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Hashable, tuple[Hashable, asyncio.Future[Any]]] = {}
        """Oldest first."""

    def outcome(self, key: Hashable) -> Any:
        """Of work that went well; None: of none that is remembered."""
        _, done = self._known.get(key, (None, None))
        return done.result() if done is not None and done.done() and not _failed(done) else None

    async def do(self, key: Hashable, asked: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, or wait for what the same key began; what fails or is left may be asked again.

        Raises Conflict for a key that stood for something else, and what the work raises.
        """
        while key in self._known:
            before, outcome = self._known[key]
            if before != asked:
                raise Conflict("this Idempotency-Key was used before, for another request")
            await asyncio.wait((outcome,))
            if not outcome.cancelled():
                found: T = outcome.result()
                return found
        outcome = asyncio.get_running_loop().create_future()
        self._known[key] = (asked, outcome)
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        try:
            result = await work()
        except BaseException as error:
            self._forget(key, outcome)
            if isinstance(error, Exception):
                outcome.set_exception(error)
                outcome.exception()  # seen: nobody may be waiting
            else:
                outcome.cancel()
            raise
        outcome.set_result(result)
        return result

    def _forget(self, key: Hashable, outcome: asyncio.Future[Any]) -> None:
        if self._known.get(key, (None, None))[1] is outcome:
            del self._known[key]


def _failed(done: asyncio.Future[Any]) -> bool:
    return done.cancelled() or done.exception() is not None

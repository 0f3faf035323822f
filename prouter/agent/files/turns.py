"""Who changes a sandbox now: one at a time, so that a look, a change and its undo are one step for everybody else.

Only the short steps stand in turn, never what waits for a client. Jobs themselves change their files as they like.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Turns:
    """Of all sandboxes, by their paths. Lives on the event loop: who waits holds no thread."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    def of(self, sandbox: Path) -> Turn:
        return Turn(self._locks.setdefault(sandbox, asyncio.Lock()))


class Turn:
    """Of one sandbox; the lock is there for as long as somebody has one of these."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock

    async def __call__(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            return await work()

    async def surely(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Also when cancelled while it waits: for what cleans up."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._lock.acquire()
                break
            except asyncio.CancelledError as error:
                cancelled = error
        try:
            await work()
        finally:
            self._lock.release()
        if cancelled is not None:
            raise cancelled

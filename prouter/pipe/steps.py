"""Coroutines that mostly wait for nothing: they run where they are begun, and in a task only from their first wait on.

A task a request costs more than all that is decided about most requests. Belongs here: beginning such work. Does not:
who owns the task that goes on (the caller).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any


def begin(work: Coroutine[Any, Any, None], context: Context) -> Coroutine[Any, Any, None] | None:
    """The first step of `work`, in `context`. None: it has ended; else what is left, for a task in the same context.

    Called where no task runs: where one does, all of the work is left for a task of its own.
    """
    if asyncio.current_task() is not None:
        return work
    try:
        waiting = context.run(work.send, None)
    except StopIteration:
        return None
    return _Rest(work, waiting)


class _Rest(Coroutine[Any, Any, None]):
    """A coroutine that has begun already, as a task wants it."""

    __slots__ = ("_told", "_waiting", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waiting: Any) -> None:
        self._work = work
        self._waiting = waiting
        """What its first step waits for; the task is told it in answer to its first step."""
        self._told = False

    def send(self, value: Any) -> Any:
        if not self._told:
            self._told = True
            waiting, self._waiting = self._waiting, None
            return waiting
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        self._told = True
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("this is for a task")


class _NextTurn:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def in_a_task() -> None:
    """What follows needs a task (asyncio.timeout does): work that had none so far goes on in the one made for it."""
    if asyncio.current_task() is None:
        await _NextTurn()

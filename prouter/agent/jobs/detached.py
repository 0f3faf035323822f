"""Work on a job that goes on when its caller goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from prouter.errors import Internal, ProuterError
from prouter.model.services import Tasks

T = TypeVar("T")


def detached(tasks: Tasks, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """What it raises is for whoever waits; an error that is none of ours is Internal there, and the task's own."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            outcome.set_result(await work)
        except ProuterError as error:
            refuse(outcome, error)
        except BaseException:
            refuse(outcome, Internal(f"the {name} failed for a reason that is in the agent's log"))
            raise

    tasks.start(name, run())
    return outcome


def refuse(outcome: asyncio.Future[T], error: ProuterError) -> None:
    """Unless it is done already."""
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # seen: nobody may be waiting any more

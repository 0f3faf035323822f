"""Work beside what a handler does, whose failure is the handler's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from prouter.errors import Internal, ProuterError
from prouter.model import unexpected

log = logging.getLogger(__name__)


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` until the context ends. An error of its ends the context at once and is raised in its place.

    What asyncio's TaskGroup does, for one task and without a group around its error.
    """
    owner = asyncio.current_task()
    assert owner is not None
    failed: ProuterError | None = None

    async def run() -> None:
        nonlocal failed
        try:
            await work
        except ProuterError as error:
            failed = error
            owner.cancel()
        except Exception as error:
            log.exception("%s failed", name)
            unexpected.tell(error, name)
            failed = Internal()
            owner.cancel()

    task = asyncio.get_running_loop().create_task(run(), name=name)
    task.add_done_callback(lambda _: work.close())  # one that is cancelled before its first step never began
    try:
        yield
    except asyncio.CancelledError:
        if failed is None or owner.uncancel() > 0:
            raise
        raise failed from None
    finally:
        task.cancel()
        await asyncio.wait((task,))

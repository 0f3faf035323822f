"""The one place where background tasks are made: each has a name, an owner and an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any

from prouter.model import unexpected
from prouter.pluginkit import context
from prouter.pluginkit.watching import Watch

log = logging.getLogger(__name__)


class TaskOwner:
    """Owns background tasks; `close` cancels and awaits them. Implements model.services.Tasks.

    A task that fails is logged with its name; nothing else happens to its siblings.
    """

    def __init__(self, name: str, watch: Watch | None = None) -> None:
        """With `watch` those that hold the event loop are named."""
        self.name = name
        self._watch = watch
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background. After `close` it is dropped unrun."""
        if self._closed:
            work.close()
            return
        with context.about(request=""):  # that of whoever happened to start it
            watched = work if self._watch is None else self._watch.over(work, f"its task {name}")
            task = asyncio.get_running_loop().create_task(_staying(watched), name=f"{self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before its first step never began
        task.add_done_callback(self._done)

    async def finish(self, deadline_seconds: float) -> None:
        """Wait until nothing runs, or for the deadline."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=deadline_seconds)

    async def close(self, deadline_seconds: float = 5.0) -> None:
        """Cancel what runs and wait for its end; what is not over at the deadline is named in the log."""
        self._closed = True
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        for task in tasks:
            task.cancel()
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=deadline_seconds)
            for task in running:
                log.error("%s did not end within %g s of being cancelled", task.get_name(), deadline_seconds)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
            unexpected.tell(error, task.get_name())


def owned(task: asyncio.Task[Any]) -> bool:
    """Whether a TaskOwner started it, which will end it."""
    return getattr(task.get_coro(), "cr_code", None) is _staying.__code__


async def _staying(work: Awaitable[None]) -> None:
    """A SystemExit or KeyboardInterrupt in a task would end the whole loop: it fails that task only."""
    try:
        await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"it wanted to end the process (status {getattr(error, 'code', 130)})") from error


def told_to_end() -> bool:
    """Whether the running task was cancelled. For loops over work with a TaskGroup: one that is ending because of an
    error takes a cancellation for its own (Python 3.11), and the task would go on for ever."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

"""What every test must leave behind: nothing. No task of its loop, no child process, no open descriptor."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

FDS = Path("/proc/self/fd")


def open_descriptors() -> int:
    return len(os.listdir(FDS)) if FDS.exists() else 0


@pytest.fixture(autouse=True)
def no_leftover_descriptors() -> Iterator[None]:
    """Sockets and files are closed by their owners, not by the garbage collector some day."""
    before = open_descriptors()
    yield
    if open_descriptors() > before:
        gc.collect()
        assert open_descriptors() <= before + 1, "descriptors are left over"


@pytest.fixture(autouse=True)
async def no_leftover_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(50):  # a cancelled task needs a turn of the loop to end
        left = {task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"tasks are left over: {[task.get_name() for task in left]}")

"""Background tasks have an owner and an end, and none takes the process with it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from prouter.pluginkit.tasks import TaskOwner


async def sleep() -> None:
    await asyncio.sleep(600)


async def leave() -> None:
    raise SystemExit(3)


async def test_a_task_that_exits_or_fails_is_named_and_its_siblings_go_on(caplog: pytest.LogCaptureFixture) -> None:
    owner = TaskOwner("mine")
    owner.start("stays", sleep())
    owner.start("leaves", leave())
    await owner.finish(0.01)
    assert len(owner) == 1
    assert "mine: leaves failed" in caplog.text
    assert "status 3" in caplog.text
    await owner.close()
    assert len(owner) == 0


async def test_a_task_that_is_ended_before_its_first_step_is_no_warning() -> None:
    owner = TaskOwner("mine")
    owner.start("never begins", sleep())
    await owner.close()
    gc.collect()


async def test_nothing_starts_after_the_end() -> None:
    owner = TaskOwner("mine")
    await owner.close()
    owner.start("late", sleep())
    assert len(owner) == 0

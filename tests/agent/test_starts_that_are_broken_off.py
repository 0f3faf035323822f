"""A start that is broken off has not ended before its guardian has: another one may follow at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from prouter.agent.guard.client import GuardKeeper
from prouter.agent.guard.held import trees
from prouter.model.ids import new_uid
from prouter.model.plugin import LaunchRequest
from prouter.model.process import Command
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="keepers are Linux's"),
]
PATIENCE = 10.0
"""On a machine where all takes so long."""
SOON_SECONDS = 0.3
"""In which who waits for nobody has ended."""


@pytest.fixture
async def tasks() -> Any:
    owner = TaskOwner("test")
    yield owner
    await owner.close()


async def test_who_breaks_it_off_waits_for_its_guardian(tasks: TaskOwner, tmp_path: Path) -> None:
    keeper = GuardKeeper(tasks, cgroups=False, patience=PATIENCE)
    before = set(trees.children(os.getpid()))
    await keeper.start()
    (keeping,) = set(trees.children(os.getpid())) - before
    (tmp_path / "sandbox").mkdir()
    sleeps = Command((sys.executable, "-c", "import time; time.sleep(600)"), dict(os.environ), str(tmp_path))
    os.kill(keeping, signal.SIGSTOP)
    try:
        launching = asyncio.ensure_future(keeper.launch(LaunchRequest(new_uid(), str(tmp_path), sleeps)))
        await asyncio.sleep(SOON_SECONDS)
        launching.cancel()
        await asyncio.wait((launching,), timeout=SOON_SECONDS)
        assert not launching.done(), "nobody knows yet whether it was begun"
    finally:
        os.kill(keeping, signal.SIGCONT)
    await eventually(launching.done, what="the end of a start that is broken off")
    assert launching.cancelled()
    assert not trees.descendants(keeping)
    await keeper.close()

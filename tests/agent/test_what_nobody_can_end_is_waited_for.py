"""R6: what a job's dead guardian left and nobody can end, as in a freezer, is no ended job to the next agent either."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prouter.agent.guard import running, sweep
from prouter.agent.guard.client import GuardKeeper
from prouter.agent.guard.held import trees
from prouter.agent.guard.held.launch import TAG
from prouter.model.ids import JobUid, new_uid
from prouter.model.process import Exit
from prouter.pluginkit.tasks import TaskOwner

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]
SLEEPS = "print('up', flush=True); import time; time.sleep(600)"
SECONDS = 20


async def test_it_is_the_jobs_tree_until_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobUid(new_uid())
    left = subprocess.Popen(
        [sys.executable, "-S", "-c", SLEEPS],
        env=os.environ | {TAG: job},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    tasks = TaskOwner("test")
    try:
        assert left.stdout is not None
        left.stdout.readline()
        monkeypatch.setattr(sweep, "STUCK_SECONDS", 0.02)
        monkeypatch.setattr(running, "LOOK_SECONDS", 0.01)
        with monkeypatch.context() as frozen:
            frozen.setattr(trees, "kill_tagged", lambda *found: None)
            found = await GuardKeeper(tasks, cgroups=False, patience=0.01).recover(job, str(tmp_path))
            assert found is not None, "it is told to be lost, and runs"
            assert not isinstance(found, Exit)
            assert not await found.exiting()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await found.wait()
        left.kill()
        left.wait()
        async with asyncio.timeout(SECONDS):
            assert (await found.wait()).reason == "agent-lost"
    finally:
        left.kill()
        left.communicate()
        await tasks.close()

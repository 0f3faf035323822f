"""A keeper that nobody waits for any more while it is started takes no descriptor that is not its own, and ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prouter.agent.guard.client import GuardKeeper
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="keepers are Linux's"),
]


class SlowToBegin:
    """subprocess.Popen that waits to be let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.begun: list[subprocess.Popen[bytes]] = []
        self.failed: list[BaseException] = []
        self._plain = subprocess.Popen

    def __call__(self, *args: Any, **options: Any) -> subprocess.Popen[bytes]:
        self.asked.set()
        self.go.wait(20)
        try:
            self.begun.append(self._plain(*args, **options))
        except BaseException as error:
            self.failed.append(error)
            raise
        return self.begun[-1]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowToBegin]:
    slow = SlowToBegin()
    monkeypatch.setattr(subprocess, "Popen", slow)
    yield slow
    slow.go.set()


@pytest.fixture
async def tasks() -> Any:
    owner = TaskOwner("test")
    yield owner
    await owner.close()


async def test_a_start_that_is_cancelled(slow: SlowToBegin, tasks: TaskOwner) -> None:
    keeper = GuardKeeper(tasks, cgroups=False)
    starting = asyncio.ensure_future(keeper.start())
    await eventually(slow.asked.is_set)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    others = [os.open(__file__, os.O_RDONLY) for _ in range(8)]  # what has its number now
    try:
        slow.go.set()
        await eventually(lambda: slow.begun or slow.failed, what="a keeper that was asked for")
        assert not slow.failed, "the keeper's end of its socket was closed under it"
        (begun,) = slow.begun
        held = [os.readlink(place) for place in Path(f"/proc/{begun.pid}/fd").iterdir()]
        assert __file__ not in held
        await eventually(lambda: not Path(f"/proc/{begun.pid}").exists(), what="the end of a keeper that nobody has")
    finally:
        for fd in others:
            os.close(fd)
    await keeper.start()  # another one does, as if nothing had been
    assert len(slow.begun) == 2
    await keeper.close()


async def test_the_end_of_the_agent_amid_the_start_of_another_keeper(slow: SlowToBegin, tasks: TaskOwner) -> None:
    keeper = GuardKeeper(tasks, cgroups=False)
    slow.go.set()
    await keeper.start()
    slow.go.clear()
    slow.asked.clear()
    slow.begun[0].kill()
    await eventually(slow.asked.is_set, what="the start of another keeper")
    await tasks.close()
    slow.go.set()
    await eventually(lambda: len(slow.begun) == 2, what="another keeper")
    await eventually(lambda: slow.begun[1].returncode is not None, what="its end")
    await keeper.close()

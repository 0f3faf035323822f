"""R5: what an agent can not have or read for a moment when it starts is asked for again, and costs no job its life."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from prouter.agent.guard import sweep
from prouter.agent.guard.adoption import Survival
from prouter.agent.guard.client import GuardKeeper
from prouter.agent.guard.held import door
from prouter.errors import Unavailable
from prouter.model.ids import JobUid, new_uid
from prouter.model.plugin import LaunchRequest
from prouter.model.process import Command, Exit
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]
ENDED = {"exit_code": 3, "reason": "exited", "finished_at": 1.5, "detail": ""}


class Survivor:
    """A job whose agent is gone."""

    def __init__(self, directory: Path) -> None:
        self.uid = JobUid(new_uid())
        self.directory = directory
        (directory / "sandbox").mkdir()

    async def begin(self, tasks: TaskOwner) -> None:
        keeper = GuardKeeper(tasks, cgroups=False, survival=Survival(None))
        await keeper.start()
        sleeps = (sys.executable, "-c", "import time; time.sleep(600)")
        command = Command(sleeps, dict(os.environ), str(self.directory / "sandbox"))
        await keeper.launch(LaunchRequest(self.uid, str(self.directory), command))
        await keeper.close()


@pytest.fixture
async def tasks() -> AsyncIterator[TaskOwner]:
    owner = TaskOwner("test")
    yield owner
    await owner.close()


def fails_at_first(work: Callable[..., Any], number: int) -> Callable[..., Any]:
    left = [number] * 3

    def failing(*args: Any) -> Any:
        if left:
            raise OSError(left.pop(), "not now")
        return work(*args)

    return failing


@pytest.mark.parametrize("what", ["descriptors", "its door is crowded", "what it wrote"])
async def test_a_survivor_is_adopted_once_that_is_possible(
    tasks: TaskOwner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    job = Survivor(tmp_path)
    await job.begin(tasks)
    if what == "what it wrote":
        monkeypatch.setattr(sweep, "described", fails_at_first(sweep.described, errno.EIO))
    else:
        number = errno.EMFILE if what == "descriptors" else errno.EAGAIN
        monkeypatch.setattr(door, "knock", fails_at_first(door.knock, number))
    next_one = GuardKeeper(tasks, cgroups=False, survival=Survival(None))
    found = await next_one.recover(job.uid, str(tmp_path))
    assert found is not None
    assert not isinstance(found, Exit), "it lived and was ended"
    assert (await found.kill("stopped")).reason == "stopped"


async def test_one_that_found_no_room_to_say_who_it_is(tasks: TaskOwner, tmp_path: Path) -> None:
    """It says so as soon as there is some."""
    in_the_way = tmp_path / "guardian.json.new"
    in_the_way.mkdir()
    job = Survivor(tmp_path)
    await job.begin(tasks)
    in_the_way.rmdir()
    await eventually((tmp_path / "guardian.json").exists, what="what a guardian writes of itself")
    found = await GuardKeeper(tasks, cgroups=False, survival=Survival(None)).recover(job.uid, str(tmp_path))
    assert found is not None
    assert not isinstance(found, Exit), "it lived and was ended"
    assert (await found.kill("stopped")).reason == "stopped"


def test_an_end_that_can_not_be_read_yet(tmp_path: Path) -> None:
    told = tmp_path / "exit.json"
    told.symlink_to(told)  # who opens it has ELOOP
    with pytest.raises(Unavailable):
        sweep.recover(new_uid(), tmp_path, patience=0.01)
    (tmp_path / "mended").write_text(json.dumps(ENDED))
    threading.Timer(0.2, lambda: (tmp_path / "mended").replace(told)).start()
    assert sweep.recover(new_uid(), tmp_path) == Exit(**ENDED)

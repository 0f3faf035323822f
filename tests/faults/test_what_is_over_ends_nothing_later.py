"""R5, R6: a guardian that is slow to go, and a stop that failed, have nothing to do with the job's next run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from figures import Figures
from held_trees import CGROUPS, Nest, Tree, is_there
from stumbling import HOME, FromACopy

from prouter import hookimpl
from prouter.agent.guard import running
from prouter.agent.guard.held.door import Door, knock
from prouter.client import Job, RequestFailed
from prouter.errors import TimedOut
from prouter.testing import Fleet, eventually

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(120)]

SURVIVE = ("jobs.survive_agent=True", "client.reconnect_delay=0.2")
SLOW_TO_GO = """

# What follows belongs to a test.
import time

_say = Talker.say


def say(self, message):
    taken = _say(self, message)
    until = time.monotonic() + 20
    while "finished_at" in message and not os.path.exists(GO) and time.monotonic() < until:
        time.sleep(0.01)
    return taken


Talker.say = say
"""
ENDS = "import os, time\nwhile not os.path.exists('end'): time.sleep(0.02)\nos.unlink('end')"


async def next_run(nest: Nest, job: Job) -> Tree:
    async with nest.router.client() as client:
        again = Job(client, dict(job.info))
        (nest.agent.sandbox(job) / "end").touch()
        await again.wait(20)
        await again.restart()
    return Tree(nest, again, "")


async def adopted(nest: Nest, tree: Tree) -> bool:
    """Whether the next agent takes it over."""
    nest.agent.kill()
    nest.agent.start()
    await nest.router.agent_is_there(nest.agent)
    async with nest.router.client() as client:
        info = await client.request("GET", f"{tree.job.path}/info")
    return (info["state"], info["pid"]) == ("RUNNING", tree.main)


async def test_a_guardian_that_is_slow_to_go_leaves_the_next_ones_door(fleet: Fleet, figures: Figures) -> None:
    """It has shut its own before it tells of the end."""
    home, go = fleet.place / "slow", fleet.place / "go"
    shutil.copytree(Path(running.__file__).parent / "held", home / "held")
    with (home / "held" / "talk.py").open("a") as talk:
        talk.write(SLOW_TO_GO.replace("GO", repr(str(go))).replace("import time", "import os, time", 1))
    nest = Nest(fleet, CGROUPS[-1], *SURVIVE, plugins=(FromACopy,), environ={HOME: str(home)})
    first = await nest.plain(ENDS)
    second = await next_run(nest, first.job)
    assert is_there(first.guardian)
    go.touch()
    await eventually(lambda: not is_there(first.guardian), what="the end of the first guardian")
    goes_on = await adopted(nest, second)
    figures.record("R5", "jobs adopted whose last run's guardian was slow to go", int(goes_on), goal=1, holds=goes_on)
    assert goes_on


def test_a_door_that_another_one_replaced_is_left_alone(tmp_path: Path) -> None:
    """A guardian that could write its account of the end nowhere has its door open still when it goes."""
    first, second = Door(str(tmp_path)), Door(str(tmp_path))
    first.close()
    knocking, pid = knock(str(tmp_path), 5)
    knocking.close()
    second.close()
    assert pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


class FailsToEndOnce:
    """The first kill of a tree by this agent comes to nothing."""

    @hookimpl
    def prouter_startup(self) -> None:
        kill = running.GuardedTree.kill

        async def fails(tree: running.GuardedTree, reason: str) -> None:
            running.GuardedTree.kill = kill  # type: ignore[method-assign]
            raise TimedOut("nothing can be ended")

        running.GuardedTree.kill = fails  # type: ignore[method-assign, assignment]


async def test_a_stop_that_failed_can_be_tried_again_and_stops_no_later_run(fleet: Fleet, figures: Figures) -> None:
    nest = Nest(fleet, CGROUPS[-1], *SURVIVE, plugins=(FailsToEndOnce,))
    fleet.expected_errors += ["could not be ended", "kill of its driver"]
    tried, left = await nest.plain(), await nest.plain(ENDS)
    with pytest.raises(RequestFailed, match="could not be ended yet"):
        await stop(nest, tried.job)
    assert (await stop(nest, tried.job))["reason"] == "stopped"
    nest.agent.kill()
    nest.agent.start()
    await nest.router.agent_is_there(nest.agent)
    with pytest.raises(RequestFailed, match="could not be ended yet"):
        await stop(nest, left.job)
    assert json.loads((left.directory / "record.json").read_text())["stopping"] is None
    assert await adopted(nest, left), "a stop that had failed was gone on with"
    goes_on = await adopted(nest, await next_run(nest, left.job))
    figures.record("R5", "runs after a stop that failed that the next agent left alone", 1, goal=1, holds=goes_on)
    assert goes_on


async def stop(nest: Nest, job: Job) -> dict[str, object]:
    async with nest.router.client() as client:
        info: dict[str, object] = await client.request("POST", f"{job.path}/stop", {"grace": 0})
    return info

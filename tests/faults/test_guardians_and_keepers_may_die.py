"""R6: whoever of a job's guardian, the keeper and the agent dies or hangs, alone or with another: what each death does.

The table of who takes over from whom, row by row, with trees that do all that they can to stay. In the middle of a
start: test_a_kill_amid_a_start_leaves_nothing.py; storms of forks: test_no_storm_outlives_who_held_it.py.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator

import pytest
from figures import Figures
from held_trees import (
    CGROUPS,
    GONE_SECONDS,
    Nest,
    QuickToReplace,
    Tree,
    frozen,
    is_there,
    kill,
    marked,
    parent_of,
    seconds_until_gone,
    stopped,
)

from prouter.agent.guard.held.trees import start_time
from prouter.testing import Fleet, eventually

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(120)]

UNTIL_TOLD = """
import os, sys, time
print("begun", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
print("over", flush=True)
sys.exit(7)
"""
"""A job that nobody's death may harm: it says so, and by its exit code."""


@pytest.fixture(params=CGROUPS)
def nest(fleet: Fleet, request: pytest.FixtureRequest) -> Nest:
    return Nest(fleet, request.param)


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


async def unharmed(tree: Tree) -> None:
    """It goes on, its output is whole, and its exit code its own."""
    assert is_there(tree.main)
    (tree.directory / "sandbox" / "go").touch()
    info = await tree.ended()
    assert (info["reason"], info["exit_code"]) == ("exited", 7)
    assert (tree.directory / "sandbox" / ".pagent.stdout").read_text() == "begun\nover\n"


async def lost(tree: Tree, figures: Figures, who: str) -> None:
    """The tree is gone in time, and callers of wait are told."""
    seconds = await seconds_until_gone(tree.mark)
    name = f"{who}: until the tree was gone (cgroups {tree.nest.cgroups})"
    figures.record("R6", name, seconds, goal=GONE_SECONDS, unit="s", holds=seconds <= GONE_SECONDS)
    info = await tree.ended()
    assert (info["state"], info["reason"]) == ("FINISHED", "agent-lost")
    assert info["exit_code"] in (None, -signal.SIGKILL)


async def only_found_by_its_tag(tree: Tree) -> None:
    """Nobody was left who knew the whole tree: exact by its group; else a process without our environment stays."""
    if tree.facts["cgroup"]:
        await seconds_until_gone(tree.mark)
        return
    await eventually(lambda: len(marked(tree.mark)) <= 1, what="the end of all that has the tag")
    kill(*marked(tree.mark))


async def test_two_guardians_die_at_once(nest: Nest, figures: Figures) -> None:
    """Their orphans come to the keeper, which ends them. What they wrote stays until they are removed."""
    trees = [await nest.nasty(), await nest.nasty()]
    beside = await nest.plain(UNTIL_TOLD)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(tree.ended()) for tree in trees]
        await asyncio.sleep(0)
        kill(*(tree.guardian for tree in trees))
        for tree in trees:
            await lost(tree, figures, "two guardians killed at once")
    assert {task.result()["reason"] for task in waiting} == {"agent-lost"}
    for tree in trees:
        assert (tree.directory / "sandbox" / "ready").exists()
        await nest.remove(tree)
        assert not tree.directory.exists()
    await unharmed(beside)


async def test_the_keeper_dies_and_later_a_guardian_of_it(nest: Nest, figures: Figures) -> None:
    """Guardians go on without it, under their next parent; another one takes starts; exit codes are right."""
    tree, beside = await nest.nasty(), await nest.plain(UNTIL_TOLD)
    keeper = beside.keeper
    kill(keeper)
    later = await nest.nasty()
    assert later.keeper not in (keeper, beside.keeper)
    assert is_there(later.keeper)
    kill(tree.guardian)
    assert (await tree.ended())["reason"] == "agent-lost"
    await only_found_by_its_tag(tree)
    kill(later.guardian)
    await lost(later, figures, "guardian of the second keeper killed")
    await unharmed(beside)


async def test_keeper_and_guardian_die_at_once(nest: Nest) -> None:
    """The agent sweeps: by the job's group exactly, else by the tag in its environment."""
    tree, beside = await nest.nasty(), await nest.plain(UNTIL_TOLD)
    kill(tree.keeper, tree.guardian)
    assert (await tree.ended())["reason"] == "agent-lost"
    await only_found_by_its_tag(tree)
    await unharmed(beside)
    await unharmed(await nest.plain(UNTIL_TOLD))


async def test_a_guardian_hangs(nest: Nest) -> None:
    """It is ended with all below it: one that is stopped, one whose keeper is gone, one whose keeper hangs, too, and
    one that the kernel does not let die."""
    beside = await nest.plain(UNTIL_TOLD)
    orphaned = await nest.nasty()
    kill(orphaned.keeper)
    for tree in (await nest.nasty(), orphaned):
        with stopped(tree.guardian):
            await nest.remove(tree)
            assert not marked(tree.mark)
            await eventually(lambda pid=tree.guardian: not is_there(pid), what="the end of the guardian")
        assert not tree.directory.exists()
    tree = await nest.nasty()
    with stopped(tree.guardian, tree.keeper):
        await nest.remove(tree)
        assert not marked(tree.mark)
    tree = await nest.nasty()
    with frozen(tree.guardian):
        await nest.remove(tree)
        assert not marked(tree.mark)
    await eventually(lambda: not is_there(tree.guardian), what="the end of the guardian, once it was let go")
    await unharmed(beside)


async def test_the_keeper_hangs(fleet: Fleet) -> None:
    """Another is started, what the first did not take is asked of it, and nothing of that begins late."""
    nest = Nest(fleet, CGROUPS[0], plugins=(QuickToReplace,))
    beside = await nest.plain(UNTIL_TOLD)
    keeper = beside.keeper
    with stopped(keeper):
        started = await nest.plain(UNTIL_TOLD)
        assert started.keeper != keeper
        await eventually(lambda: not is_there(keeper), what="the end of the keeper that hung")
    await unharmed(started)
    await unharmed(beside)


async def test_the_agent_dies_with_others(nest: Nest, figures: Figures) -> None:
    """With the keeper: guardians end their trees. With a guardian: the keeper ends its orphans. With both: the next
    agent sweeps. It tells that the jobs are lost, and their sandboxes are gone."""
    for who in (("keeper",), ("guardian",), ("keeper", "guardian")):
        tree = await nest.nasty()
        kill(*(getattr(tree, name) for name in who), nest.agent.pid)
        nest.agent.process.wait()
        swept = len(who) == 2
        if not swept:
            await seconds_until_gone(tree.mark)
        nest.agent.start()
        await nest.router.agent_is_there(nest.agent)
        if swept:
            await only_found_by_its_tag(tree)
        await lost(tree, figures, f"agent and {' and '.join(who)} killed at once")
        assert not (tree.directory / "sandbox").exists() or not any((tree.directory / "sandbox").iterdir())


async def test_a_later_process_with_a_guardians_number_is_left_alone(
    fleet: Fleet, innocent: subprocess.Popen[bytes]
) -> None:
    """What is on disk names a process by its boot, number and start."""
    nest = Nest(fleet, CGROUPS[0])
    trees = [await nest.plain(), await nest.plain()]
    nest.agent.kill()
    for tree in trees:
        await seconds_until_gone(tree.mark)
        (tree.directory / "exit.json").unlink(missing_ok=True)
    start = start_time(innocent.pid)
    other_start = {"guardian": {"pid": innocent.pid, "start": start - 1}}
    other_boot = {"guardian": {"pid": innocent.pid, "start": start}, "boot_id": "of another boot"}
    for tree, other in zip(trees, (other_start, other_boot), strict=True):
        (tree.directory / "guardian.json").write_text(json.dumps(tree.facts | other))
    nest.agent.start()
    for tree in trees:
        assert (await tree.ended())["reason"] == "agent-lost"
    assert innocent.poll() is None
    assert parent_of(innocent.pid)

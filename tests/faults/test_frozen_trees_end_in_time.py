"""R7: a guardian that stands still together with all that it holds does not hold up a stop or a removal of its job.

Stopped by SIGSTOP or by the job's own cgroup it is ended; what the kernel lets nobody end is told to be so in a
bounded time, and is gone as soon as it thaws.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from figures import LONG, Figures
from held_trees import CGROUPS, ROOM, Nest, Tree, is_there, kill, marked, stopped

from prouter.client import RequestFailed
from prouter.testing import Fleet, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")

GRACE_SECONDS = 0.5
FREEZER = Path("/sys/fs/cgroup/freezer")
ENDED_SECONDS = 20.0 if LONG else GRACE_SECONDS + 4.0
"""Grace, a guardian's 10 s, 2 s three times of who helps it, and room; in the short form 0.3 s each and time."""


@contextlib.contextmanager
def all_stopped(tree: Tree) -> Iterator[None]:
    """By SIGSTOP."""
    with stopped(tree.guardian, *marked(tree.mark)):
        yield


@contextlib.contextmanager
def group_frozen(tree: Tree) -> Iterator[None]:
    """By the job's own cgroup, and its guardian by SIGSTOP."""
    freeze = Path(str(tree.facts["cgroup"]), "cgroup.freeze")
    with stopped(tree.guardian):
        freeze.write_text("1")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it went with the job
                freeze.write_text("0")


@contextlib.contextmanager
def unkillable(tree: Tree, *others: int) -> Iterator[None]:
    """By the freezer of version 1, which lets nobody end what is frozen: the tree, and `others`."""
    group = FREEZER / f"prt-{os.getpid()}-{tree.uid}"
    group.mkdir()
    try:
        for pid in (*others, *marked(tree.mark)):
            (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (FREEZER / "cgroup.procs").write_text(pid)
        _remove(group)


def _remove(group: Path) -> None:
    """Once all have left it, which takes the kernel a moment."""
    deadline = time.monotonic() + 10
    while group.exists():
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.01)


async def stop(tree: Tree) -> float:
    """Seconds until it was done, or told that it can not be."""
    return await asked(tree, "stop", {"signal": "TERM", "grace": GRACE_SECONDS})


async def remove(tree: Tree) -> float:
    return await asked(tree, "remove", None)


async def asked(tree: Tree, action: str, body: object) -> float:
    begun = time.monotonic()
    async with tree.nest.router.client() as client:
        await client.request("POST", f"{tree.job.path}/{action}", body)
    return time.monotonic() - begun


Freeze = Callable[[Tree], contextlib.AbstractContextManager[None]]


@pytest.mark.parametrize("freeze", [all_stopped, group_frozen])
async def test_a_tree_that_stands_still_with_its_guardian_is_ended(
    fleet: Fleet, figures: Figures, freeze: Freeze
) -> None:
    nest = Nest(fleet, CGROUPS[0], patient=LONG)
    if freeze is group_frozen and not (await nest.plain()).facts["cgroup"]:
        pytest.skip("needs cgroups of version 2 that may be made")
    took = {}
    for act in (stop, remove):
        tree = await nest.nasty()
        with freeze(tree):
            took[act.__name__] = await act(tree)
            assert not marked(tree.mark), "something is left of it"
            await eventually(lambda pid=tree.guardian: not is_there(pid), what="the end of the guardian")
        if act is stop:
            assert (await tree.ended())["reason"] in ("stopped", "agent-lost")
            await nest.remove(tree)
        assert not tree.directory.exists()
    slowest = max(took.values())
    what = f"{freeze.__name__.replace('_', ' ')}: until a stop or a removal is done"
    figures.record("R7", what, slowest, goal=ENDED_SECONDS, unit="s", holds=slowest <= ENDED_SECONDS)
    assert slowest <= ENDED_SECONDS * ROOM


@pytest.mark.needs_root
@pytest.mark.skipif(not os.access(FREEZER, os.W_OK), reason="needs root and the freezer of cgroups v1")
async def test_a_tree_that_nobody_can_end_is_told_of_in_time_and_ends_when_it_thaws(
    fleet: Fleet, figures: Figures
) -> None:
    nest = Nest(fleet, CGROUPS[0], patient=LONG)
    fleet.expected_errors += ["can not be ended", "could not be ended", "in kill of its driver", "Traceback"]
    tree, beside = await nest.nasty(), await nest.nasty()
    took = []
    with unkillable(tree, tree.guardian):
        for act in (stop, remove):
            begun = time.monotonic()
            with pytest.raises(RequestFailed) as told:
                await act(tree)
            took.append(time.monotonic() - begun)
            assert told.value.http_status == 504, told.value
            assert marked(tree.mark)
        await nest.remove(beside)
        assert not marked(beside.mark), "others are not held up"
    await eventually(lambda: not marked(tree.mark), what="the end of what had been asked to end")
    await eventually(lambda: not is_there(tree.guardian), what="the end of the guardian")
    await nest.remove(tree)
    assert not tree.directory.exists()
    slowest = max(took)
    what = "a tree that nobody can end: until that is told"
    figures.record("R7", what, slowest, goal=ENDED_SECONDS, unit="s", holds=slowest <= ENDED_SECONDS)
    assert slowest <= ENDED_SECONDS * ROOM


@pytest.mark.needs_root
@pytest.mark.skipif(not os.access(FREEZER, os.W_OK), reason="needs root and the freezer of cgroups v1")
@pytest.mark.parametrize("cgroups", CGROUPS)
async def test_no_end_is_told_while_something_is_there_that_nobody_can_end(fleet: Fleet, cgroups: str) -> None:
    """Its guardian died, and a freezer holds the rest."""
    nest = Nest(fleet, cgroups)
    fleet.expected_errors += ["can not be ended"]
    tree = await nest.nasty()
    async with nest.router.client() as client:
        with unkillable(tree):
            kill(tree.guardian)
            await eventually(lambda: "can not be ended" in nest.agent.log, seconds=60, what="the log to say so")
            info = await client.request("POST", f"{tree.job.path}/wait", timeout=1)
            assert (info["state"], info["reason"]) == ("RUNNING", None)
            assert marked(tree.mark)
        info = await client.request("POST", f"{tree.job.path}/wait", timeout=60)
    assert (info["reason"], marked(tree.mark)) == ("agent-lost", [])

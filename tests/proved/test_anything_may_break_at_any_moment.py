"""R22: whatever is asked, and whatever breaks at whichever moment of that: each in turn, where the random order of
test_nothing_is_lost_in_any_order.py would have to be lucky. The client asks once more, and all that was promised holds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from figures import LONG
from simulated_clients import uid
from simulated_world import World

MEMORY = Path("/dev/shm")
APART_SECONDS = 0.001 if LONG else 0.009
"""Between two moments; a step of the disk takes 2 ms, and all of a call is within MOMENTS_SECONDS."""
MOMENTS_SECONDS = 0.1
BREAKS = ("cut", "agent dies", "router dies", "guardian dies", "agent forgets", "both die")
ASKED = ("create", "start", "restart", "stop", "stop hard", "remove", "upload")
Jobs = dict[str, list[int]]
"""All of one agent, by what is asked of them: each another moment before it breaks."""


def jobs() -> Jobs:
    moments = int(MOMENTS_SECONDS / APART_SECONDS)
    return {what: [1 + 3 * (moments * number + n) for n in range(moments)] for number, what in enumerate(ASKED)}


def prepare(world: World, all_jobs: Jobs) -> None:
    """Each is as it has to be for what is asked of it."""
    for what in ASKED[1:]:
        for job in all_jobs[what]:
            world.create(job, "r1")
    world.loop.run_for(1)
    for what in ASKED[2:]:
        for job in all_jobs[what]:
            world.start(job, "r1", "0.2" if what == "restart" else "forever")
    world.loop.run_for(1)


def ask(world: World, what: str, job: int) -> None:
    match what:
        case "create":
            world.create(job, "r1")
        case "start":
            world.start(job, "r1", "forever")
        case "restart":
            world.restart(job, "r1", "again")
        case "stop":
            world.stop(job, "r1")
        case "stop hard":
            world.stop(job, "r1", 0.0)
        case "remove":
            world.remove(job, "r1", "key")
        case "upload":
            world.upload(job, "r1")


def break_it(world: World, what: str, all_jobs: Jobs) -> None:
    if what in ("guardian dies", "both die"):
        for each in all_jobs.values():
            for job in each[::2]:
                world.guardian_dies(uid(job))
    match what:
        case "cut":
            world.cut("a1", "r1")
        case "router dies":
            world.crash_router("r1")
            world.start_router("r1")
        case "agent forgets":
            world.forgets("a1", "r1")
        case "agent dies" | "both die":
            world.crash_agent("a1")
            world.loop.run_for(0.03)
            world.start_agent("a1")


@pytest.mark.parametrize("survive", [False, True], ids=["", "guardians wait"])
@pytest.mark.parametrize("breaks", BREAKS)
def test_what_was_promised_holds(breaks: str, survive: bool) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="proved-") as place:
        world = World(Path(place), survive=survive)
        try:
            all_jobs = jobs()
            prepare(world, all_jobs)
            for together in zip(*all_jobs.values(), strict=True):
                for what, job in zip(ASKED, together, strict=True):
                    ask(world, what, job)
                world.loop.run_for(APART_SECONDS)
            break_it(world, breaks, all_jobs)
            world.loop.run_for(3)
            for what, each in all_jobs.items():  # as a client does that was told to
                for job in each:
                    ask(world, what, job)
            world.loop.run_for(3)
            broken = world.prove()
            assert sum(asked.acked for asked in world.history.calls) > len(world.history.jobs())
            assert not broken, "\n".join([*broken, "of:", *map(str, world.history.calls)])
        finally:
            world.close()

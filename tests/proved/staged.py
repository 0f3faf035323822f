"""Short histories that leave no choice: each ends badly under some mistake (mistakes.py), and well without.

Belongs here: what is asked and what breaks, at which moment. Does not: what must hold in the end, which `World.prove`
knows; a scenario yields what it saw itself to be wrong on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simulated_clients import uid
from simulated_network import Wire
from simulated_world import AGENTS, World

from prouter.model.jobs import JobState, Reason

UNNAMED, ONE, TWO, BRIEF = 3, 1, 4, 7
"""A job for any agent, which is a1; two of a1; one of a1 whose program ends by itself."""
STEP_SECONDS, WAIT_STEPS = 0.0005, 20_000
SPARE = 11
"""A port of a1's where nobody listens at first."""
LINE = {"a1": (1, SPARE), "a2": (1,)}
"""Two addresses that lead to the same router."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, in a world of this kind."""

    happens: Callable[[World], Iterator[str] | None]
    survive: bool = False
    addresses: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict(AGENTS))

    def broken(self, disk: Path) -> list[str]:
        """Empty when all that was promised held."""
        world = World(disk, survive=self.survive, addresses=self.addresses)
        try:
            seen: Iterable[str] = self.happens(world) or ()
            return [*seen, *world.prove()]
        except AssertionError as error:  # the simulation itself: something is busy without an end, runs twice
            return [str(error)]
        finally:
            world.close()


def made(world: World, *jobs: int) -> None:
    for job in jobs:
        world.create(job, "r1")
    world.loop.run_for(0.1)


def running(world: World, *jobs: int) -> None:
    made(world, *jobs)
    for job in jobs:
        world.start(job, "r1")
    world.loop.run_for(0.2)


def until(world: World, condition: Callable[[], bool]) -> None:
    """In small steps. Raises AssertionError when it does not come."""
    for _ in range(WAIT_STEPS):
        if condition():
            return
        world.loop.run_steps(1)
        world.loop.run_for(STEP_SECONDS)
    raise AssertionError("what the scenario waits for does not come")


def until_told_to_run(world: World, job: int, router: str) -> None:
    """A start, until its agent has said that it runs, and has not written it down."""
    world.start(job, router)
    until(world, lambda: world.agents["a1"].registry.get(uid(job)).state is JobState.RUNNING)
    world.loop.run_steps(40)


def reborn(world: World, agent: str, seconds: float = 0.0) -> None:
    world.crash_agent(agent)
    world.loop.run_for(seconds)
    world.start_agent(agent)


def line(world: World) -> Wire:
    (found,) = world.network.between("a1", "r1")
    return found


# --- what the router believes ---


def an_agent_comes_back_with_less_than_it_had_told(world: World) -> None:
    made(world, ONE)
    until_told_to_run(world, ONE, "r1")
    reborn(world, "a1")


def a_job_is_removed_by_the_other_router_while_a_link_is_down(world: World) -> None:
    made(world, ONE)
    world.cut("a1", "r1")
    world.remove(ONE, "r2", None)
    world.loop.run_for(0.04)


def a_job_is_removed_by_the_other_router_before_its_agent_dies(world: World) -> None:
    """While this one hears nothing: the next run of the agent has to tell it."""
    running(world, ONE)
    world.silence("a1", "r1")
    world.remove(ONE, "r2", "key")
    world.loop.run_for(1)
    world.crash_agent("a1")
    world.cut("a1", "r1")
    world.start_agent("a1")
    world.loop.run_for(1)


def a_start_is_repeated_when_its_job_has_ended(world: World) -> None:
    running(world, BRIEF)
    world.loop.run_for(3)
    world.start(BRIEF, "r1")


def a_start_is_repeated_while_its_job_is_removed(world: World) -> None:
    """At each moment of the removal, of a job each."""
    jobs = [1 + 3 * number for number in range(3, 27)]
    running(world, *jobs)
    world.loop.run_for(3)
    for number, job in enumerate(jobs):
        world.remove(job, "r1", None)
        world.loop.run_for(number * 0.0005)
        world.start(job, "r1")
        world.loop.run_for(0.1)


def a_job_is_waited_for_from_before_its_start(world: World) -> None:
    made(world, ONE)
    world.wait(ONE, "r1", None)
    world.start(ONE, "r1")
    world.loop.run_for(1)


def a_link_is_lost_while_a_job_is_waited_for(world: World) -> None:
    running(world, ONE)
    world.wait(ONE, "r1", None)
    world.loop.run_for(0.1)
    world.cut("a1", "r1")
    world.loop.run_for(3)


# --- links ---


def an_agent_forgets_its_link(world: World) -> None:
    world.forgets("a1", "r1")
    world.loop.run_for(2)


def an_agent_hears_of_its_router_by_another_address(world: World) -> Iterator[str]:
    world.silence("a1", "r1")
    world.network.listening[SPARE] = world.network.listening[1]
    world.loop.run_for(6)
    links = sum(wire.open_at("a1") for wire in world.network.between("a1", "r1"))
    if links != 1:
        yield f"a1 holds {links} links to r1"


def an_older_link_comes_up_late(world: World) -> None:
    """What it says that its agent has was true before the newer link was there."""
    world.cut("a1", "r1")
    until(world, lambda: bool(world.network.between("a1", "r1")))
    world.loop.run_for(0.012)  # its hello has come, and nothing else
    line(world).delays[True] = 4.0
    world.network.listening[SPARE] = world.network.listening[1]
    world.loop.run_for(2)
    made(world, ONE)
    world.loop.run_for(4)
    world.info(ONE, "r1")


def news_of_an_earlier_boot_come_late(world: World) -> None:
    """Over a line on which its router can not even say good-bye."""
    made(world, ONE)
    line(world).delays[True] = 3.0
    line(world).full[False] = True
    until_told_to_run(world, ONE, "r2")
    reborn(world, "a1")
    world.loop.run_for(5)


def all_links_are_cut_for_a_moment(world: World) -> None:
    running(world, ONE)
    for router in ("r1", "r2"):
        world.cut("a1", router)
    world.loop.run_for(2)


# --- what is asked twice ---


def a_link_is_cut_amid_a_start(world: World) -> None:
    """At each moment of it."""
    for number in range(12):
        job = 1 + 3 * (number + 10)
        made(world, job)
        world.start(job, "r1", "forever")
        world.loop.run_for(0.011 + number * 0.004)
        world.cut("a1", "r1")
        world.loop.run_for(1)
        world.start(job, "r1", "forever")
        world.loop.run_for(0.2)


def a_create_is_repeated_while_its_agent_is_away(world: World) -> None:
    made(world, UNNAMED)
    world.cut("a1", "r1")
    world.loop.run_for(0.002)
    world.create(UNNAMED, "r1")
    world.loop.run_for(1)


def a_create_is_repeated_whose_answer_was_lost(world: World) -> None:
    world.create(UNNAMED, "r1")
    world.loop.run_for(0.02)
    world.cut("a1", "r1")
    world.loop.run_for(0.002)
    world.create(UNNAMED, "r1")
    world.loop.run_for(5)


def a_create_is_repeated_at_the_next_run_of_its_router(world: World) -> None:
    made(world, UNNAMED)
    world.loop.run_for(5)
    world.silence("a1", "r1")
    world.crash_router("r1")
    world.start_router("r1")
    router = world.routers["r1"]
    until(world, lambda: router.services is not None and router.directory.known("a2") is not None)
    world.create(UNNAMED, "r1")
    world.loop.run_for(3)


def a_restart_is_repeated(world: World) -> None:
    running(world, BRIEF)
    for _ in range(2):
        world.loop.run_for(2.5)
        world.restart(BRIEF, "r1", "again")
    world.loop.run_for(2.5)


def a_restart_is_repeated_to_the_next_agent(world: World) -> None:
    running(world, BRIEF)
    world.loop.run_for(2.5)
    world.restart(BRIEF, "r1", "again")
    world.loop.run_for(2.5)
    reborn(world, "a1")
    world.loop.run_for(3)
    world.restart(BRIEF, "r1", "again")
    world.loop.run_for(2.5)


# --- what an agent keeps ---


def an_agent_dies_and_its_jobs_go_on(world: World) -> None:
    """One that was only made, one that runs, one that ends meanwhile; with a file."""
    made(world, TWO)
    running(world, ONE, BRIEF)
    world.upload(ONE, "r1")
    world.upload(TWO, "r1")
    world.loop.run_for(0.2)
    reborn(world, "a1", 5.0)
    world.loop.run_for(3)
    for job in (ONE, TWO, BRIEF):
        world.start(job, "r1")
        world.download(job, "r1")
    world.loop.run_for(1)


def an_agent_dies_amid_a_stop(world: World) -> Iterator[str]:
    made(world, ONE)
    world.start(ONE, "r1", "stubborn")
    world.loop.run_for(0.2)
    world.stop(ONE, "r1", grace_seconds=3.0)
    world.loop.run_for(1)
    reborn(world, "a1")
    world.loop.run_for(10)
    record = world.agents["a1"].registry.get(uid(ONE))
    if record.reason is not Reason.STOPPED:
        yield f"its stop is forgotten: {record}"


def nobody_comes_for_what_an_agent_left(world: World) -> Iterator[str]:
    running(world, ONE)
    reborn(world, "a1", 700.0)
    world.loop.run_for(3)
    record = world.agents["a1"].registry.get(uid(ONE))
    if record.reason is not Reason.ORPHANED:
        yield f"it waits for an agent longer than is to be: {record}"


def a_guardian_dies(world: World) -> None:
    running(world, ONE)
    world.guardian_dies(uid(ONE))
    world.loop.run_for(1)


def a_pipe_is_cut_amid_an_upload(world: World) -> None:
    """At each moment of it; over what was uploaded before."""
    made(world, ONE)
    for moment in range(16):
        world.upload(ONE, "r1")
        world.loop.run_for(1)
        world.upload(ONE, "r1")
        world.loop.run_for(moment * 0.003)
        world.cut("a1", "r1")
        world.loop.run_for(1)
        world.download(ONE, "r1")
        world.loop.run_for(0.2)

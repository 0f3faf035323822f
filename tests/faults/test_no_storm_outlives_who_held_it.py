"""R6: a storm of forks, of threads that fork and of processes that live only until they have forked the next, is gone
in time whoever of those dies or hangs that hold it."""

from __future__ import annotations

import os
import signal

import pytest
from figures import LONG, Figures
from held_trees import CGROUPS, GONE_SECONDS, Nest, Storm, kill, stopped

from prouter.testing import Fleet

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(900 if LONG else 120)]

KINDS = {
    "guardian": ("guardian",),
    "keeper and guardian": ("keeper", "guardian"),
    "agent": ("agent",),
    "agent and keeper": ("agent", "keeper"),
    "agent and guardian": ("agent", "guardian"),
    "agent, keeper and guardian": ("agent", "keeper", "guardian"),
}
"""Who is killed."""
SHORT = ("guardian", "keeper and guardian", "agent and guardian")
ROUNDS = 10 if LONG else 1


async def after(tree: Storm, who: tuple[str, ...]) -> float:
    """Seconds until the storm was gone, of the agent's next boot where nobody else is there."""
    nest = tree.nest
    pids = {"guardian": tree.guardian, "keeper": tree.keeper, "agent": nest.agent.pid}
    kill(*(pids[name] for name in who))
    if "agent" in who:
        nest.agent.process.wait()
    gone = await tree.seconds_until_over() if len(who) < 3 else 0.0
    if "agent" in who:
        nest.agent.start()
        await nest.router.agent_is_there(nest.agent)
    gone = gone or await tree.seconds_until_over()
    assert (await tree.ended())["reason"] == "agent-lost"
    return gone


@pytest.mark.parametrize("cgroups", CGROUPS)
async def test_no_survivor_of_a_storm(fleet: Fleet, figures: Figures, cgroups: str) -> None:
    nest = Nest(fleet, cgroups)
    for kind, who in KINDS.items():
        if LONG or kind in SHORT:
            slowest = 0.0
            for _ in range(ROUNDS):
                with await nest.storm() as tree:
                    slowest = max(slowest, await after(tree, who))
            name = f"storm of forks, {kind} killed: until it was gone (cgroups {cgroups})"
            figures.record("R6", name, slowest, goal=GONE_SECONDS, unit="s", holds=slowest <= GONE_SECONDS)


@pytest.mark.parametrize("cgroups", CGROUPS)
async def test_no_survivor_of_a_storm_that_is_removed(fleet: Fleet, cgroups: str) -> None:
    """By its guardian; by the keeper, where the guardian hangs; by the agent, where both do; and when it kills its own
    main process."""
    nest = Nest(fleet, cgroups)
    for hang in ((), ("guardian",), ("guardian", "keeper")) if LONG else (("guardian", "keeper"),):
        with await nest.storm() as tree, stopped(*(getattr(tree, name) for name in hang)):
            await nest.remove(tree)
            assert tree.is_over()
    with await nest.storm() as tree:
        os.kill(tree.main, signal.SIGKILL)
        assert (await tree.ended())["exit_code"] == -signal.SIGKILL
        assert tree.is_over()

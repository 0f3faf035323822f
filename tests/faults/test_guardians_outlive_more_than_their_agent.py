"""R5, R6: with `jobs.survive_agent` the same holds: whoever dies beside the agent, what can go on goes on, and what can
not is gone and said to be lost. And a guardian of the previous version is adopted like one of this."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from figures import LONG, Figures
from held_trees import CGROUPS, GONE_SECONDS, Nest, Tree, is_there, kill, marked, seconds_until_gone, stopped
from stumbling import HOME, FromACopy
from test_guardians_and_keepers_may_die import UNTIL_TOLD, only_found_by_its_tag, unharmed

from prouter import hookimpl
from prouter.agent.guard import adoption, sweep
from prouter.agent.guard.held import door
from prouter.testing import Fleet, eventually

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(120)]

RECORDED = Path(__file__).parents[1] / "golden" / "guardians_of_protocol_2.json"
SURVIVE = ("jobs.survive_agent=True", "client.reconnect_delay=0.2")
TALKATIVE = """

# What follows belongs to a test.
_say = Talker.say


def say(self, message):
    return _say(self, message | {"mood": {"of": "a later version"}}) and _say(self, {"weather": ["fine"]})


Talker.say = say
"""


class QuickToGiveUp:
    """It does not wait long for a guardian that says nothing."""

    def __init__(self) -> None:
        adoption.HELLO_SECONDS = sweep.GUARDIAN_SECONDS = 1.0

    @hookimpl
    def prouter_startup(self) -> None: ...


async def boots(nest: Nest) -> None:
    nest.agent.start()
    await nest.router.agent_is_there(nest.agent)


@pytest.mark.parametrize("cgroups", CGROUPS)
async def test_others_die_beside_the_agent(fleet: Fleet, figures: Figures, cgroups: str) -> None:
    """The agent, then a guardian: the keeper is there still, and ends its orphans. Then the keeper: guardians wait on.
    A guardian that was adopted and dies, or hangs, takes nobody else with it."""
    nest = Nest(fleet, cgroups, *SURVIVE)
    first, later, hangs = [await nest.nasty() for _ in range(3)]
    beside = await nest.plain(UNTIL_TOLD)
    keeper = first.keeper
    nest.agent.kill()
    kill(first.guardian)
    seconds = await seconds_until_gone(first.mark)
    name = f"guardian killed after its agent: until the tree was gone (cgroups {cgroups})"
    figures.record("R6", name, seconds, goal=GONE_SECONDS, unit="s", holds=seconds <= GONE_SECONDS)
    kill(keeper)
    await boots(nest)
    assert (await first.ended())["reason"] == "agent-lost"
    assert all(len(marked(tree.mark)) >= 11 for tree in (later, hangs))
    kill(later.guardian)
    assert (await later.ended())["reason"] == "agent-lost"
    await only_found_by_its_tag(later)
    with stopped(hangs.guardian):
        await nest.remove(hangs)
        assert not marked(hangs.mark)
    await unharmed(beside)
    await unharmed(await nest.plain(UNTIL_TOLD))
    figures.record("R5", f"jobs that went on whoever died beside them (cgroups {cgroups})", 1, goal=1, holds=True)


@pytest.mark.parametrize(
    "talkative", [True, False][: 1 + LONG], ids=["saying more than we know", "as it was"][: 1 + LONG]
)
async def test_a_guardian_of_the_previous_version_is_adopted(fleet: Fleet, figures: Figures, talkative: bool) -> None:
    """It runs from what was recorded then, and of which nothing is on disk any more; what one does not know of what the
    other says is left out."""
    home = fleet.place / "previous"
    (home / "held").mkdir(parents=True)
    for name, text in json.loads(RECORDED.read_text()).items():
        (home / "held" / name).write_text(text + (TALKATIVE if talkative and name == "talk.py" else ""))
    nest = Nest(fleet, CGROUPS[0], *SURVIVE, plugins=(FromACopy,), environ={HOME: str(home)})
    tree, removed, timed = await nest.plain(UNTIL_TOLD), await nest.nasty(), await nest.plain(timeout=3.0)
    nest.agent.kill()
    shutil.rmtree(home)
    assert status_of(tree)["main"]["pid"] == tree.main
    await boots(nest)
    async with nest.router.client() as client:
        info = await client.request("GET", f"{tree.job.path}/info")
    assert (info["state"], info["pid"]) == ("RUNNING", tree.main)
    await nest.remove(removed)
    assert not marked(removed.mark)
    assert (await timed.ended())["reason"] == "timeout"
    await unharmed(tree)
    figures.record("R5", "jobs of the previous version's guardians adopted", 3, goal=3, unit="jobs", holds=True)


def status_of(tree: Tree) -> dict[str, dict[str, int]]:
    """As its guardian tells somebody at its door who says much that it does not know."""
    knocking, pid = door.knock(str(tree.directory), 10)
    assert pid == tree.guardian
    with knocking:
        for said in ({"op": "dance"}, {}, {"op": "status", "mood": "curious"}):
            knocking.sendall(json.dumps(said).encode() + b"\n")
        with knocking.makefile() as lines:
            return next(found["status"] for line in lines if "status" in (found := json.loads(line)))


async def test_a_guardian_that_hangs_when_the_next_agent_comes(fleet: Fleet) -> None:
    """Nobody can adopt it: it is ended with its tree, and its job is lost."""
    nest = Nest(fleet, CGROUPS[-1], *SURVIVE, plugins=(QuickToGiveUp,))
    tree, beside = await nest.nasty(), await nest.plain(UNTIL_TOLD)
    with stopped(tree.guardian):
        nest.agent.kill()
        await boots(nest)
        assert (await tree.ended())["reason"] == "agent-lost"
        await eventually(lambda: not marked(tree.mark), seconds=30, what="the end of the tree")
        assert not is_there(tree.guardian)
    await unharmed(beside)

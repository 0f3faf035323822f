"""R22: with `jobs.survive_agent` an agent may be killed between any two system calls that write, and a job's guardian
while it tells how its job ended: the job goes on where it was, or what is told of it is true."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from figures import LONG, Figures
from told_story import CONTENT, MARK, ONE_THREAD, START, TEMPORARY, Story, boundaries_of, warm
from writes import Write, missed_of, traced, writes_below

from prouter.client import Client
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.processes import tagged_processes

SAMPLES = 3
"""Of the boundaries, in the short form; of a guardian there are few."""


async def survivors(fleet: Fleet, place: Path) -> tuple[RouterDaemon, AgentDaemon]:
    plugin = place / "one_thread.py"
    plugin.write_text(ONE_THREAD)
    fleet.expected_errors += ["unfinished when the agent ended", "is not known"]
    settings = ("jobs.survive_agent=True", "jobs.background_threads=1", f"plugins.load=[{str(plugin)!r}]")
    router = fleet.router()
    agent = fleet.agent(router, *settings, "client.reconnect_delay=0.2")
    await router.agent_is_there(agent)
    return router, agent


async def test_an_agent_that_died_at_any_of_them_goes_on_with_the_job(
    fleet: Fleet, figures: Figures, tmp_path: Path
) -> None:
    router, agent = await survivors(fleet, tmp_path)
    log = agent.place / "strace"
    async with router.client() as client:
        await warm(client, agent)
        boundaries = await boundaries_of(Story(client, agent), log)
        sample = boundaries if LONG else boundaries[len(boundaries) // SAMPLES // 2 :: len(boundaries) // SAMPLES]
        missed = await missed_of(sample, lambda each: survived_death(fleet, router, agent, client, log, each))
    figures.record("R22", "boundaries at which an agent died and its job went on", len(sample) - len(missed))
    figures.record("R22", "boundaries of a surviving job that were missed", len(missed), goal=0)
    assert missed == []


async def survived_death(
    fleet: Fleet, router: RouterDaemon, agent: AgentDaemon, client: Client, log: Path, boundary: Write
) -> bool:
    """Whether the agent came there and died."""
    story = Surviving(client, agent)
    async with traced(agent.pid, log, "-e", boundary.death):
        await story.tell()
    before = story.answered
    died = agent.process.poll() is not None or before != story.ALL
    agent.kill()
    agent.start()
    await router.agent_is_there(agent)
    try:
        await story.go_on(fleet.tag)
    except AssertionError as error:
        raise AssertionError(f"killed at {boundary}, after {before}: {error}\n{agent.log}") from error
    await warm(client, agent)
    return died


class Surviving(Story):
    """Of an agent whose jobs outlive it."""

    lost = False
    """Whether its agent died in the middle of its start, before there was a guardian, so that it says so."""

    async def go_on(self, tag: str) -> None:
        """The next agent is there: what was acknowledged is there, all else is asked again."""
        sandbox = self.agent.jobs / self.uid / "sandbox"
        begun = self.answered
        if "start" in begun and "wait" not in begun:
            (sandbox / "go").touch()
        if "remove" in begun:
            assert not await self.client.jobs()
        elif "wait" in begun:
            assert (await self.ask("remove"))[0] in (200, 404)
        else:
            if "create" in begun:
                (job,) = await self.client.jobs()
                assert job.info["uid"] == self.uid
            if "upload" in begun and "mkdir" not in begun and (sandbox / "made").is_dir():
                self.answered += ("mkdir",)  # its key is forgotten with its agent: again, it is a conflict
            await self.tell()
            assert self.answered == self.ALL, self.answered
            may_be_lost = begun == self.ALL[:3]  # nobody was told that it starts
            assert may_be_lost or not self.lost
        assert await self.client.jobs() == []
        await eventually(lambda: not [line for line in tagged_processes(tag).values() if MARK in line])
        left = [str(path) for name in TEMPORARY for path in self.agent.jobs.parent.rglob(name)]
        assert left == [], "temporary files"
        assert list(self.agent.jobs.iterdir()) == []

    def is_told(self, step: str, told: Mapping[str, Any]) -> None:
        if step == "start" and told["state"] == "FINISHED":
            self.lost = True
        elif step != "wait":
            super().is_told(step, told)
        elif self.lost:
            assert (told["reason"], told["exit_code"]) == ("agent-lost", None)
        else:
            assert (told["reason"], told["exit_code"]) == ("exited", 7)
            sandbox = self.agent.jobs / self.uid / "sandbox"
            assert (sandbox / "ran").read_bytes() == b"x\n", "it ran once"
            assert (sandbox / "up" / "whole").read_bytes() == CONTENT
            assert (sandbox / "made").is_dir()


@pytest.mark.parametrize("away", [False, True], ids=["its agent is there", "its agent is away"])
async def test_a_guardian_that_died_while_it_told_the_end_leaves_the_truth(
    fleet: Fleet, figures: Figures, tmp_path: Path, away: bool
) -> None:
    """What it had on disk counts; else nobody knows how the job ended, and that is said."""
    router, agent = await survivors(fleet, tmp_path)
    log = agent.place / "strace"
    async with router.client() as client:
        told = await end_of_one(client, router, agent, log, away)
        assert (told["reason"], told["exit_code"]) == ("exited", 7)
        boundaries = changes(told["uid"], log)
        named = [write.call for write in boundaries].index("rename")

        async def met(boundary: Write) -> bool:
            number = boundaries.index(boundary)
            expected = ("agent-lost", None) if number <= named else ("exited", 7)
            told = await end_of_one(client, router, agent, log, away, "-e", boundary.death)
            if len(changes(told["uid"], log)) != number + 1:
                return False
            found = told["state"], told["reason"], told["exit_code"]
            assert found == ("FINISHED", *expected), f"killed at {boundary}: {found}\n{agent.log}"
            return True

        missed = await missed_of(boundaries if LONG else boundaries[named : named + 2], met)
    name = f"boundaries of an exit record that were missed, agent {'away' if away else 'there'}"
    figures.record("R22", name, len(missed), goal=0)
    assert missed == []


def changes(job: str, log: Path) -> list[Write]:
    """What a guardian changed at the end of a job; the last one may have killed it. Opening what is there changes
    nothing."""
    return [write for write in writes_below(job, log) if write.call != "openat"]


async def end_of_one(
    client: Client, router: RouterDaemon, agent: AgentDaemon, log: Path, away: bool, *options: str
) -> dict[str, Any]:
    """What is told of a job whose guardian was looked at, or killed, while its main process ended with 7."""
    job = await client.create({"type": "uid", "uid": agent.uid}, "ends")
    await job.start(START["args"], port_expected_count=0)
    place = agent.jobs / job.info["uid"]
    await eventually(lambda: (place / "sandbox" / "ran").exists() and (place / "guardian.json").exists())
    guardian = json.loads((place / "guardian.json").read_text())["guardian"]["pid"]
    if away:
        agent.kill()
    async with traced(guardian, log, *options):
        (place / "sandbox" / "go").touch()
        await eventually(lambda: not Path(f"/proc/{guardian}").exists() or is_zombie(guardian), what="its end")
    if away:
        agent.start()
        await router.agent_is_there(agent)
    told: dict[str, Any] = (await job.wait(20)).info
    await job.remove()
    await asyncio.sleep(0)
    assert not place.exists()
    return told


def is_zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True

"""R22: an agent that is killed between any two system calls that write loses and doubles nothing that it acknowledged,
and leaves no half of anything."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path

from figures import LONG, Figures
from told_story import CONTENT, MARK, ONE_THREAD, TEMPORARY, Story, boundaries_of, warm
from writes import Write, missed_of, traced

from prouter.client import Client
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.processes import tagged_processes

SAMPLES = 4
"""Of the boundaries, in the short form."""


async def test_nothing_that_was_acknowledged_is_lost_at_any_of_them(
    fleet: Fleet, figures: Figures, tmp_path: Path
) -> None:
    plugin = tmp_path / "one_thread.py"
    plugin.write_text(ONE_THREAD)
    router, agent = await fleet.pair("jobs.background_threads=1", f"plugins.load=[{str(plugin)!r}]")
    log = agent.place / "strace"
    async with router.client() as client:
        await warm(client, agent)
        whole = Dying(client, agent)
        boundaries = await boundaries_of(whole, log)
        assert_last(boundaries, whole.uid)
        sample = boundaries if LONG else boundaries[:: len(boundaries) // SAMPLES]
        missed = await missed_of(sample, lambda each: survived_death(fleet, router, agent, client, log, each))
    figures.record("R22", "boundaries at which an agent died and nothing was lost", len(sample) - len(missed))
    figures.record("R22", "boundaries that were missed", len(missed), goal=0)
    assert missed == []


async def survived_death(
    fleet: Fleet, router: RouterDaemon, agent: AgentDaemon, client: Client, log: Path, boundary: Write
) -> bool:
    """Whether the agent came there and died."""
    story = Dying(client, agent)
    async with traced(agent.pid, log, "-e", boundary.death):
        await story.tell()
    died = agent.process.poll() is not None or story.answered != story.ALL
    agent.kill()
    await come_back(router, agent)
    try:
        await story.check(fleet.tag)
    except AssertionError as error:
        raise AssertionError(f"killed at {boundary}, after {story.answered}: {error}\n{agent.log}") from error
    await warm(client, agent)
    return died


def assert_last(writes: Sequence[Write], job: str) -> None:
    """What survives a loss of power: file and directory were flushed before, and after, a record got its name."""
    texts = [write.text for write in writes]
    made = next(n for n, text in enumerate(texts) if text.startswith("rename(") and "record.json.new" in text)
    expected = {
        "the job's name": "fsync({}<STATE/jobs>",
        "its record": f"fsync({{}}<STATE/jobs/{job}/record.json.new>",
    }
    for what, call in expected.items():
        assert any(like(text, call) for text in texts[:made]), f"{what} is not flushed before the record is there"
    assert like(texts[made + 1], f"fsync({{}}<STATE/jobs/{job}>"), "the record's name is not flushed"
    gone = next(n for n, text in enumerate(texts) if text.startswith("rename(") and "/.removed-" in text)
    assert like(texts[gone + 1], "fsync({}<STATE/jobs>"), "a removal is not flushed"


def like(text: str, call: str) -> bool:
    before, _, after = call.partition("{}")
    return text.startswith(before) and text[len(before) :].lstrip("0123456789").startswith(after)


async def come_back(router: RouterDaemon, agent: AgentDaemon) -> None:
    """In the long form it dies once more while it comes up."""
    if LONG:
        agent.launch()
        await asyncio.sleep(random.uniform(0.05, 0.6))
        agent.kill()
    agent.start()
    await router.agent_is_there(agent)


class Dying(Story):
    """Of an agent whose jobs end with it."""

    async def check(self, tag: str) -> None:
        """The agent is back. Whatever is asked again is done once."""
        await eventually(lambda: not [pid for pid, line in tagged_processes(tag).items() if MARK in line], seconds=6)
        jobs = [job.info for job in await self.client.jobs()]
        assert [job["uid"] for job in jobs] in ([], [self.uid]), jobs
        self._check_names(self.agent.jobs.parent)
        if "remove" in self.answered:
            assert jobs == []
        elif "create" in self.answered and self.answered[-1] != "wait":
            assert jobs, "it was made"
        if jobs and "wait" in self.answered:
            assert (jobs[0]["state"], jobs[0]["reason"], jobs[0]["exit_code"]) == ("FINISHED", "exited", 7)
            await self._check_files()
        elif jobs:
            assert jobs[0]["state"] == "FINISHED"
        if self.answered and self.answered[-1] == "wait":  # it was being removed
            assert (await self.ask("remove"))[0] in ((200,) if jobs else (200, 404))
        elif jobs:
            status, again = await self.ask("create")
            assert (status, again["uid"]) == (200, self.uid)
            if "start" in self.answered:
                assert (await self.ask("start"))[0] == 200
            assert (await self.ask("remove"))[0] == 200
        status, _ = await self.ask("remove")
        assert status == 200 if jobs or "remove" in self.answered else status in (200, 404), status
        self._check_names(self.agent.jobs.parent)
        assert list(self.agent.jobs.iterdir()) == []

    async def _check_files(self) -> None:
        sandbox = self.agent.jobs / self.uid / "sandbox"
        assert (sandbox / "ran").read_bytes() == b"x\n", "it ran once"
        assert (sandbox / "up" / "whole").read_bytes() == CONTENT
        assert (sandbox / "made").is_dir()

    def _check_names(self, state: Path) -> None:
        left = [str(path) for name in TEMPORARY for path in state.rglob(name)]
        assert left == [], "temporary files"
        for file in state.rglob("*.json"):
            json.loads(file.read_bytes())
        for upload in state.glob("jobs/*/sandbox/up/whole"):
            assert upload.read_bytes() == CONTENT

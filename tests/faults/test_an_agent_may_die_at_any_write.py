"""R22: an agent that is killed between any two system calls that write loses and doubles nothing that it acknowledged,
and leaves no half of anything."""

from __future__ import annotations

import asyncio
import io
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from figures import LONG, Figures
from writes import Write, traced, writes_below

from prouter.client import Client
from prouter.model.ids import new_uid
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.processes import tagged_processes

SAMPLES = 4
"""Of the boundaries, in the short form."""
CONTENT = random.Random(22).randbytes(100_000)
MARK = "dies-at-any-write"
START = {"args": ["/bin/sh", "-c", f": {MARK}; echo x >> ran; while ! test -e go; do sleep 0.02; done; exit 7"]}
START |= {"port_expected_count": 0}
TEMPORARY = ("*.new", ".removed-*", "torn-*", ".prouter-*")


ONE_THREAD = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
from prouter import hookimpl

class OneThread:
    @hookimpl
    def prouter_startup(self, agent):
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
"""
"""The Nth call of a thread is the same one in each story only when there are no others that may make it."""


async def test_nothing_that_was_acknowledged_is_lost_at_any_of_them(
    fleet: Fleet, figures: Figures, tmp_path: Path
) -> None:
    plugin = tmp_path / "one_thread.py"
    plugin.write_text(ONE_THREAD)
    router, agent = await fleet.pair("jobs.background_threads=1", f"plugins.load=[{str(plugin)!r}]")
    state, log = agent.jobs.parent, agent.place / "strace"
    async with router.client() as client:
        await warm(client, agent)
        whole = Story(client, agent)
        async with traced(agent.pid, log):
            await whole.tell()
        assert whole.answered == whole.ALL
        boundaries = writes_below(state, log)
        assert len(boundaries) > 50, boundaries
        assert_last(boundaries, whole.uid)
        sample = boundaries if LONG else boundaries[:: len(boundaries) // SAMPLES]
        died = 0
        for boundary in sample:
            story = Story(client, agent)
            async with traced(agent.pid, log, "-e", boundary.death):
                await story.tell()
            died += agent.process.poll() is not None
            agent.kill()
            await come_back(router, agent)
            try:
                await story.check(fleet.tag)
            except AssertionError as error:
                raise AssertionError(f"killed at {boundary}, after {story.answered}: {error}\n{agent.log}") from error
            await warm(client, agent)
    least = math.ceil(len(sample) * 0.8)  # most are there again in the next run of the agent, in the same order
    figures.record(
        "R22",
        "boundaries at which an agent died and nothing was lost",
        died,
        goal=f">= {least}",
        holds=died >= least,
    )
    assert died >= least


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


async def warm(client: Client, agent: AgentDaemon) -> None:
    """All threads are there that a story needs."""
    job = await client.create({"type": "uid", "uid": agent.uid}, "warm")
    await job.upload(Path(__file__), "warm")
    await job.remove()


async def come_back(router: RouterDaemon, agent: AgentDaemon) -> None:
    """In the long form it dies once more while it comes up."""
    if LONG:
        agent.launch()
        await asyncio.sleep(random.uniform(0.05, 0.6))
        agent.kill()
    agent.start()
    await router.agent_is_there(agent)


class Story:
    """One job from its making to its removal. `answered` is what was acknowledged of it."""

    ALL = ("create", "upload", "mkdir", "start", "wait", "remove")

    def __init__(self, client: Client, agent: AgentDaemon) -> None:
        self._client = client
        self._agent = agent
        self.uid = new_uid()
        self.path = f"/jobs/{agent.uid}/{self.uid}"
        self.answered: tuple[str, ...] = ()

    async def tell(self) -> None:
        """Until the end, or the first answer that does not come."""
        for step in self.ALL:
            asked = asyncio.ensure_future(self._ask(step))
            await eventually(lambda asked=asked: asked.done() or self._agent.process.poll() is not None)
            await asyncio.wait((asked,), timeout=0.1)
            if not asked.done():  # a wait goes on until its agent is back
                asked.cancel()
                return
            if asked.result()[0] != 200:
                return
            self.answered += (step,)
            if step == "start":
                (self._agent.jobs / self.uid / "sandbox" / "go").touch()

    async def _ask(self, step: str) -> tuple[int, Mapping[str, Any]]:
        create = {"agent": {"type": "uid", "uid": self._agent.uid}, "name": "story", "uid": self.uid}
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "create": ("/jobs/create", {"json": create}),
            "upload": (f"{self.path}/file/up/whole", {"data": io.BytesIO(CONTENT)}),
            "mkdir": (f"{self.path}/files", {"json": {"mkdir": "made"}}),
            "start": (f"{self.path}/start", {"json": START}),
            "wait": (f"{self.path}/wait", {}),
            "remove": (f"{self.path}/remove", {}),
        }
        path, body = asked[step]
        try:
            async with (
                asyncio.timeout(30),
                self._client.session.post(
                    self._client.url + path, headers={"Idempotency-Key": f"{step} of {self.uid}"}, **body
                ) as answer,
            ):
                return answer.status, await answer.json()
        except aiohttp.ClientError:
            return 0, {}

    async def check(self, tag: str) -> None:
        """The agent is back. Whatever is asked again is done once."""
        await eventually(lambda: not [pid for pid, line in tagged_processes(tag).items() if MARK in line], seconds=6)
        jobs = [job.info for job in await self._client.jobs()]
        assert [job["uid"] for job in jobs] in ([], [self.uid]), jobs
        self._check_names(self._agent.jobs.parent)
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
            assert (await self._ask("remove"))[0] in ((200,) if jobs else (200, 404))
        elif jobs:
            status, again = await self._ask("create")
            assert (status, again["uid"]) == (200, self.uid)
            if "start" in self.answered:
                assert (await self._ask("start"))[0] == 200
            assert (await self._ask("remove"))[0] == 200
        status, _ = await self._ask("remove")
        assert status == 200 if jobs or "remove" in self.answered else status in (200, 404), status
        self._check_names(self._agent.jobs.parent)
        assert list(self._agent.jobs.iterdir()) == []

    async def _check_files(self) -> None:
        sandbox = self._agent.jobs / self.uid / "sandbox"
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

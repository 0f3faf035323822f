"""One job from its making to its removal, asked for over HTTP step by step until the first answer that does not come.

Belongs here: the steps, each with a key of its own, so that it may be asked again. Does not: who dies meanwhile
(writes.py), and what must be true then (the tests).
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from writes import Write, traced, writes_below

from prouter.client import Client
from prouter.model.ids import new_uid
from prouter.testing import AgentDaemon, eventually

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


class Story:
    """One job from its making to its removal. `answered` is what was acknowledged of it."""

    ALL = ("create", "upload", "mkdir", "start", "wait", "remove")

    def __init__(self, client: Client, agent: AgentDaemon) -> None:
        self.client = client
        self.agent = agent
        self.uid = new_uid()
        self.path = f"/jobs/{agent.uid}/{self.uid}"
        self.answered: tuple[str, ...] = ()

    async def tell(self) -> None:
        """From where it is, until the end or the first answer that does not come or is none of success."""
        for step in self.ALL[len(self.answered) :]:
            asked = asyncio.ensure_future(self.ask(step))
            await eventually(lambda asked=asked: asked.done() or self.agent.process.poll() is not None)
            await asyncio.wait((asked,), timeout=0.1)
            if not asked.done():  # a wait goes on until its agent is back
                asked.cancel()
                return
            status, told = asked.result()
            if status != 200:
                return
            self.is_told(step, told)
            self.answered += (step,)

    def is_told(self, step: str, told: Mapping[str, Any]) -> None:
        """Each answer, before the next step."""
        if step == "start":
            (self.agent.jobs / self.uid / "sandbox" / "go").touch()

    async def ask(self, step: str) -> tuple[int, Mapping[str, Any]]:
        create = {"agent": {"type": "uid", "uid": self.agent.uid}, "name": "story", "uid": self.uid}
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
                self.client.session.post(
                    self.client.url + path, headers={"Idempotency-Key": f"{step} of {self.uid}"}, **body
                ) as answer,
            ):
                return answer.status, await answer.json()
        except aiohttp.ClientError:
            return 0, {}


async def boundaries_of(story: Story, log: Path) -> Sequence[Write]:
    """At each of which its agent may die: it is told as a whole, and nobody does."""
    async with traced(story.agent.pid, log):
        await story.tell()
    assert story.answered == story.ALL
    boundaries = writes_below(story.agent.jobs.parent, log)
    assert len(boundaries) > 50, boundaries
    return boundaries


async def warm(client: Client, agent: AgentDaemon) -> None:
    """All threads are there that a story needs."""
    job = await client.create({"type": "uid", "uid": agent.uid}, "warm")
    await job.upload(Path(__file__), "warm")
    await job.remove()

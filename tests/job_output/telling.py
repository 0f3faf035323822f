"""Jobs that tell what a test wants told, when it wants it; and clients that read what they told."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import aiohttp

from prouter.client import Client, Job
from prouter.testing import AgentDaemon

TELLER = """
import array, fcntl, os, sys, termios, time
def say(data, fd=1):
    data = data if isinstance(data, bytes) else data.encode()
    while data:
        data = data[os.write(fd, data):]
    left = array.array("i", [1])
    while left[0]:  # what the next one says is read after this
        fcntl.ioctl(fd, termios.FIONREAD, left)
def await_file(name):
    while not os.path.exists(name):
        time.sleep(0.01)
exec(sys.argv[1])
"""


async def new_job(client: Client, agent: AgentDaemon) -> Job:
    return await client.create({"type": "uid", "uid": agent.uid}, "teller")


async def tell(job: Job, program: str, **options: Any) -> Job:
    """Start it on a program that may use `say` and `await_file`."""
    return await job.start([sys.executable, "-S", "-c", TELLER, program], **({"port_expected_count": 0} | options))


async def told(client: Client, agent: AgentDaemon, program: str, **options: Any) -> Job:
    """A job that has said everything."""
    job = await tell(await new_job(client, agent), program, **options)
    return await job.wait(60)


async def allow(client: Client, job: Job, name: str) -> None:
    """Make the file that the program awaits."""
    async with client.session.post(f"{client.url}{job.path}/file/{name}", data=b"") as answer:
        assert answer.status == 200


async def output(job: Job, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in job.output(**options)])


class Follower:
    """Reads an answer bit by bit."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.read = b""

    async def until(self, end: bytes) -> bytes:
        while not self.read.endswith(end):
            data = await self.answer.content.readany()
            assert data, f"the answer ended after {self.read!r}"
            self.read += data
        return self.read

    async def rest(self) -> bytes:
        self.read += await self.answer.content.read()
        return self.read


@dataclass(frozen=True)
class Event:
    kind: str
    data: dict[str, Any]
    id: int | None


async def events(client: Client, job: Job, last_id: int | None = None, **query: str) -> list[Event]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(last_id)} if last_id is not None else {})
    async with client.session.get(f"{client.url}{job.path}/output", params=query, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        text = (await answer.content.read()).decode()
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append(Event(fields["event"], json.loads(fields["data"]), number))
    return found

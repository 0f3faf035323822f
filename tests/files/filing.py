"""One job whose sandbox is read and written through the router, and seen from behind on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from prouter.client import Job
from prouter.testing import AgentDaemon, RouterDaemon

MIB = 2**20
SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Filing:
    router: RouterDaemon
    agent: AgentDaemon
    job: Job

    @property
    def sandbox(self) -> Path:
        return self.agent.sandbox(self.job)

    def left(self) -> list[str]:
        """All names in the sandbox but the job's output."""
        found = [path.relative_to(self.sandbox) for path in self.sandbox.rglob("*")]
        return sorted(str(path) for path in found if not path.name.startswith(".pagent."))

    async def ask(self, verb: str, rest: str, data: Any = None, **headers: str) -> Answer:
        """One request; `rest` is sent as it is, `Some_Header="x"` is `Some-Header: x`."""
        url = URL(f"{self.router.url()}{self.job.path}/file/{rest}", encoded=True)
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
            session.request(verb, url, data=body, headers=named) as answer,
        ):
            return Answer(answer.status, answer.headers, await answer.read())

    async def runs(self, program: str) -> None:
        """The job runs this Python text to its end."""
        await self.job.start([sys.executable, "-c", program], port_expected_count=0)
        await self.job.wait(SECONDS)
        assert self.job.info["exit_code"] == 0, (self.sandbox / ".pagent.stderr").read_text()

    def head(self, verb: str, rest: str, *lines: str) -> bytes:
        host, port = self.router.address("control")
        first = f"{verb} {self.job.path}/file/{rest} HTTP/1.1"
        return "\r\n".join([first, f"Host: {host}:{port}", *lines, "", ""]).encode()

    @contextlib.asynccontextmanager
    async def begun(self, request: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection on which so much of a request was sent; reads no further ahead than 64 KiB."""
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(*self.router.address("control"), limit=32768)
            try:
                writer.write(request)
                await writer.drain()
                yield reader, writer
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


async def content(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body until the connection ends or the body has its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return head, await reader.readexactly(size)


def told(data: bytes) -> dict[str, Any]:
    """What the answer to an upload of this says."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def open_files(agent: AgentDaemon, name: str) -> int:
    """How many descriptors the agent has on a file of that name."""
    count = 0
    for entry in Path(f"/proc/{agent.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += name in os.readlink(entry)
    return count

"""Clients of pressing_job.py that check every byte and read only as fast as a test wants.

Belongs here: one connection to the router and what came on it. Does not: what the job does (pressing_job.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import cast

from pressing_job import MOST, part
from proxied import Proxied

JOB = str(Path(__file__).parent / "pressing_job.py")
"""What `proxied.joined(fleet)` starts."""
SECONDS = 60.0


class Reader(asyncio.Protocol):
    """Reads an answer, or a tunnel, of the job's stream. `end` is None while the connection is open."""

    def __init__(self) -> None:
        self.head = b""
        self.came = 0
        """Bytes of the body until now, all of them right."""
        self.wrong: str | None = None
        self.end: str | None = None
        """"end" (FIN) or "reset"."""
        self.transport: asyncio.Transport
        self._lost = False
        self._wanted = 0
        self._woken = asyncio.Event()

    async def until(self, size: int, seconds: float = SECONDS) -> None:
        """Until so many bytes of the body came. Raises AssertionError when they were wrong or the connection ended."""
        self._wanted = size
        async with asyncio.timeout(seconds):
            while self.came < size and self.end is None:
                self._woken.clear()
                await self._woken.wait()
        assert self.wrong is None, self.wrong
        assert self.came >= size, f"{self.end} after {self.came} of {size} bytes"

    def expect_again(self) -> None:
        """What comes next is the stream from its beginning: counting begins anew."""
        self.came = 0

    async def until_end(self, seconds: float = SECONDS) -> str:
        """How the connection ended."""
        async with asyncio.timeout(seconds):
            while self.end is None:
                self._woken.clear()
                await self._woken.wait()
        assert self.wrong is None, self.wrong
        return self.end

    async def until_head(self, seconds: float = SECONDS) -> int:
        """Its status."""
        async with asyncio.timeout(seconds):
            while not self.head.endswith(b"\r\n\r\n") and self.end is None:
                self._woken.clear()
                await self._woken.wait()
        assert self.head, f"{self.end} without an answer"
        return int(self.head.split(b" ")[1])

    def stall(self) -> None:
        self.transport.pause_reading()

    def read_on(self) -> None:
        self.transport.resume_reading()

    def leave(self) -> None:
        if not self._lost:  # asyncio fails at an abort behind a close that had to wait
            self.transport.abort()

    # --- asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self.head.endswith(b"\r\n\r\n"):
            head, end, data = (self.head + data).partition(b"\r\n\r\n")
            self.head = head + end
            self._woken.set()
        start = 0
        while start < len(data):
            piece = data[start : start + MOST]
            if self.wrong is None and piece != part(self.came + start, len(piece)):
                self.wrong = f"wrong bytes at {self.came + start}"
            start += len(piece)
        self.came += len(data)
        if self.came >= self._wanted:
            self._woken.set()

    def eof_received(self) -> bool:
        self.end = "end"
        self._woken.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.end = self.end or ("reset" if exc else "end")
        self._woken.set()


@contextlib.asynccontextmanager
async def asked(job: Proxied, rest: str, *lines: str, method: str = "GET", read: bool = True):
    """A request that was sent, on a connection of its own. `read=False`: nothing is read from the beginning."""
    client = await ask(job, rest, *lines, method=method, read=read)
    try:
        yield client
    finally:
        client.leave()


async def ask(job: Proxied, rest: str, *lines: str, method: str = "GET", read: bool = True) -> Reader:
    """The same for who closes it by himself."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Reader, *job.router.address("control"))
    if not read:
        client.stall()
    transport.write(job.request(rest, *lines, method=method))
    return client


async def waiting(job: Proxied) -> int:
    """On how many connections the job waits for its peer to read."""
    return int(json.loads((await job.ask("/")).body)["waiting"])


async def taken(job: Proxied) -> int:
    """How many bytes of streams have been taken from the job until now; the connection that asks is not kept."""
    return int(json.loads((await job.ask("/?as=close")).body)["taken"])


async def sending(job: Proxied) -> int:
    """On how many connections the job is amid a request's body."""
    return int(json.loads((await job.ask("/")).body)["sending"])


def ended_at(job: Proxied, name: str) -> float | None:
    """When the job saw the end of the connection of that name (CLOCK_MONOTONIC); None: not yet."""
    with contextlib.suppress(OSError):
        for line in (job.sandbox / "ended").read_text().splitlines():
            said, at = line.split()
            if said == name:
                return float(at)
    return None


async def slowly(client: Reader, bytes_per_second: float, seconds: float) -> None:
    """Read no faster than that for so long, then not at all."""
    begun, came = time.monotonic(), client.came
    while (passed := time.monotonic() - begun) < seconds:
        if client.came - came > bytes_per_second * passed:
            client.stall()
        else:
            client.read_on()
        await asyncio.sleep(0.02)
    client.stall()

"""Calls that have begun when something breaks: how each ended and when. Every one is on a connection of its own.

Belongs here: one call of each kind, and whether its end tells what happened. Does not: what breaks (two_hosts.py), and
by when calls have to end (the tests).
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from proxied import Proxied
from wire import wired

MIB = 1024 * 1024
BIG = 1024 * MIB
"""More than is read before a test is over."""
UPGRADE = ("Connection: Upgrade", "Upgrade: asked")
TOLD = (200, 502, 503, 504)


@dataclass
class Ended:
    """`status` is 0 where the connection ended without an answer; `whole`: what came was all, as far as it says."""

    status: int = 0
    whole: bool = False
    seconds: float = 0.0
    """Since `since`."""

    @property
    def tells(self) -> bool:
        """Nobody who made the call takes a part for all."""
        return self.status in TOLD if self.whole else True


class Calls:
    """To one job's router. They begin with `begin`; `ended` has all that are over."""

    def __init__(self, job: Proxied) -> None:
        self._job = job
        self._begun: dict[str, tuple[float, asyncio.Task[Ended]]] = {}
        self._answering: dict[str, asyncio.Event] = {}
        self.came: dict[str, int] = {}
        """Bytes of the bodies until now."""

    def begin(self, name: str, verb: str, path: str, *lines: str, body: object = b"", close: bool = True) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if data or verb in ("POST", "PUT"):
            lines += (f"Content-Length: {len(data)}",)
        if close:
            lines += ("Connection: close",)
        if not isinstance(body, bytes):
            lines += ("Content-Type: application/json",)
        host = "{}:{}".format(*self._job.router.address("control"))
        head = "\r\n".join((f"{verb} {path} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode()
        self._answering[name] = asyncio.Event()
        self._begun[name] = time.monotonic(), asyncio.create_task(self._until_end(name, head + data), name=name)

    async def answering(self, *names: str) -> None:
        """Until the answers of these have begun."""
        async with asyncio.timeout(20):
            for name in names:
                await self._answering[name].wait()

    async def all_ended(self, since: float, seconds: float, *, but: str = "") -> dict[str, Ended]:
        """What became of each; those that are not over by then are left out. Their times are since then, or since
        their own beginning where that was later."""
        tasks = {name: task for name, (_, task) in self._begun.items() if name != but}
        await asyncio.wait(tasks.values(), timeout=seconds)
        found = {}
        for name, task in tasks.items():
            if task.done():
                found[name] = task.result()
                found[name].seconds -= max(since, self._begun[name][0])
        return found

    def is_over(self, name: str) -> bool:
        return self._begun[name][1].done()

    def hanging(self, *, but: str = "") -> list[str]:
        """Those that are not over."""
        return [name for name in self._begun if name != but and not self.is_over(name)]

    async def leave(self) -> None:
        for _, task in self._begun.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._begun.values()), return_exceptions=True)

    async def _until_end(self, name: str, request: bytes) -> Ended:
        ended = Ended()
        try:
            async with wired(*self._job.router.address("control")) as wire:
                await wire.send(request)
                head = (await wire.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                ended.status = int(head.split(" ")[1])
                self._answering[name].set()
                lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
                missing, last = int(lines.get("content-length", 0)), b""
                while data := await wire.reader.read(MIB):
                    missing -= len(data)
                    self.came[name] = self.came.get(name, 0) + len(data)
                    last = (last + data)[-5:]
                    await asyncio.sleep(0.02)  # or all would be there before anything breaks
                ended.whole = ended.status != 101 and missing <= 0
                if lines.get("transfer-encoding") == "chunked":
                    ended.whole = last == b"0\r\n\r\n"
        except (ConnectionError, asyncio.IncompleteReadError):
            ended.whole = False
        ended.seconds = time.monotonic()
        return ended

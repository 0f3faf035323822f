"""What a soak does to a fleet: jobs that come and go, transfers, Websockets, followers, and who breaks what, in turn.

Belongs here: the load and the faults. Does not: what is looked at meanwhile and afterwards (soaked.py, the test).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
from callers import Calls
from held_trees import kill
from proxied import Proxied

from prouter.model.ids import new_uid
from prouter.testing import AgentDaemon, RouterDaemon
from prouter.testing.network import BrokenNetwork

JOBS_PER_SECOND = 5
AT_ONCE = 30
"""Jobs that come and go; where the machine is too slow for more, fewer begin."""
FILE_BYTES = 2 * 1024 * 1024
TUNNELS = 5
CALL_SECONDS = 20.0
"""For a call to end, whatever breaks; a test gives it three times as long."""
BACK_SECONDS = 120.0
"""For an agent to come back to a new router; a create that was cut is asked again until then: it may have been done."""
CHURN = ["/bin/sh", "-c", "cat in; exit 3"]


class Load:
    """`steady` is a job that echoes on Websockets, at an agent that is never killed."""

    def __init__(self, calls: Calls, agents: Sequence[AgentDaemon], steady: Proxied) -> None:
        self.calls = calls
        self.agents = agents
        self.steady = steady
        self.done = 0
        """Jobs that came and went."""
        self.moved = 0
        """Bytes of files."""
        self.echoed = 0
        self.told = 0
        self._chance = random.Random(20)

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Until the context ends; what was begun then ends first."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._churn(over))
            group.create_task(self._transfer(over))
            for _ in range(TUNNELS):
                group.create_task(self._talk(over))
            followers = [group.create_task(self._follow(path)) for path in ("/events", f"{self.path}/output?follow=1")]
            try:
                yield
            finally:
                over.set()
                for follower in followers:
                    follower.cancel()

    @property
    def path(self) -> str:
        return str(self.steady.info["path"])

    async def _churn(self, over: asyncio.Event) -> None:
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                if len(running) < AT_ONCE:
                    task = group.create_task(self._one_job())
                    running.add(task)
                    task.add_done_callback(running.discard)
                await asyncio.sleep(1 / JOBS_PER_SECOND)

    async def _one_job(self) -> None:
        """Made, given a file, started, waited for, read, removed, each asked until it is answered."""
        uid = new_uid()
        create = {"agent": {"type": "uid", "uid": self._chance.choice(self.agents).uid}, "name": "churn", "uid": uid}
        deadline = time.monotonic() + BACK_SECONDS
        while True:
            status, body = await self._ask("create", "POST", "/jobs/create", json=create)
            if status != 404 or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)  # a router that has just begun knows no agent that takes long to come back
        if status != 200:
            self.calls.broken.append(f"create: {status} {body[:200]!r}")
            return
        path = json.loads(body)["path"]
        await self._ask("upload", "PUT", f"{path}/file/in", data=b"given")
        once = {"Idempotency-Key": f"start {uid}"}
        start = {"args": CHURN, "port_expected_count": 0}
        status, _ = await self._ask("start", "POST", f"{path}/start", json=start, headers=once)
        if status == 200:
            await self._look(path)
        status, body = await self._ask("remove", "POST", f"{path}/remove", headers={"Idempotency-Key": f"remove {uid}"})
        if status not in (200, 404):
            self.calls.broken.append(f"remove: {status} {body[:200]!r}")
        self.done += 1

    async def _look(self, path: str) -> None:
        status, body = await self._ask("wait", "POST", f"{path}/wait")
        told = json.loads(body) if status == 200 else {}
        if status != 200 or told["reason"] == "agent-lost":
            return
        if (told["reason"], told["exit_code"]) != ("exited", 3):
            self.calls.broken.append(f"a job ended as {told['reason']}, {told['exit_code']}")
        status, body = await self._ask("output", "GET", f"{path}/output")
        if status == 200 and body != b"given":
            self.calls.broken.append(f"its output was {body[:200]!r}")

    async def _transfer(self, over: asyncio.Event) -> None:
        content = self._chance.randbytes(FILE_BYTES)
        while not over.is_set():
            await self._ask("upload", "PUT", f"{self.path}/file/moved", data=content)
            status, body = await self._ask("download", "GET", f"{self.path}/file/moved")
            if status != 200 or body != content:
                self.calls.broken.append(f"download: {status}, {len(body)} bytes")
            self.moved += 2 * FILE_BYTES
            await asyncio.sleep(0.2)

    async def _talk(self, over: asyncio.Event) -> None:
        """A Websocket that is opened again when it was cut."""
        while not over.is_set():
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async with self.calls.session.ws_connect(f"{self.calls.url}{self.steady.prefix}/echo") as websocket:
                    await websocket.receive(timeout=3 * CALL_SECONDS)  # it greets
                    for number in range(1000):
                        await websocket.send_str(str(number))
                        heard = await websocket.receive(timeout=3 * CALL_SECONDS)
                        if heard.type is not aiohttp.WSMsgType.TEXT or over.is_set():
                            break
                        assert heard.data == str(number)
                        self.echoed += 1
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)

    async def _follow(self, path: str) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self.calls.session.get(self.calls.url + path) as answer:
                    async for chunk in answer.content.iter_any():
                        self.told += len(chunk)
            await asyncio.sleep(0.1)

    async def _ask(self, name: str, verb: str, path: str, **options: object) -> tuple[int, bytes]:
        return await self.calls(name, verb, path, seconds=CALL_SECONDS, retry=True, **options)


class Faults:
    """In turn. `near` is killed, `far` is reached through `line` and is not: what it carries is only cut."""

    def __init__(self, router: RouterDaemon, near: AgentDaemon, far: AgentDaemon, line: BrokenNetwork) -> None:
        self._router, self._near, self._far, self._line = router, near, far, line
        self.happened: list[tuple[float, str]] = []
        """When, and what."""
        self.mild = (self.cut_the_line, self.kill_the_keeper, self.silence_the_line, self.stop_an_agent)
        """Those after which every daemon is the process that it was."""
        self.hard = (self.kill_an_agent, self.restart_the_router, self.restart_an_agent, self.kill_the_router)
        """Those after which one is another."""

    async def befall(self, which: Sequence[Callable[[], Awaitable[None]]], every_seconds: float, until: float) -> None:
        """One after the other, each of them once at least, until a moment of the monotonic clock; the last has passed
        before it, where the machine is not too slow for all of them."""
        begun = time.monotonic()
        number = 0
        while True:
            due = begun + (number + 1) * every_seconds
            if number >= len(which) and until - max(due, time.monotonic()) <= every_seconds / 2:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            fault = which[number % len(which)]
            self.happened.append((time.time(), fault.__name__.replace("_", " ")))
            await fault()
            number += 1
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    @property
    def kinds(self) -> tuple[int, int]:
        """How many there are, and how many of them happened."""
        return len(self.hard + self.mild), len({what for _, what in self.happened})

    async def kill_an_agent(self) -> None:
        await asyncio.to_thread(self._near.kill)
        await asyncio.to_thread(self._near.start)

    async def restart_an_agent(self) -> None:
        await asyncio.to_thread(self._near.stop)
        await asyncio.to_thread(self._near.start)

    async def restart_the_router(self) -> None:
        await asyncio.to_thread(self._router.stop)
        await asyncio.to_thread(self._router.start)

    async def kill_the_router(self) -> None:
        await asyncio.to_thread(self._router.kill)
        await asyncio.to_thread(self._router.start)

    async def cut_the_line(self) -> None:
        self._line.cut()

    async def silence_the_line(self) -> None:
        """For longer than it takes to be known."""
        self._line.fall_silent()
        await asyncio.sleep(2)
        self._line.flow()

    async def stop_an_agent(self) -> None:
        self._near.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(2)
        finally:
            self._near.signal(signal.SIGCONT)

    async def kill_the_keeper(self) -> None:
        """Of the agent with the steady job, whose guardian goes on."""
        kill(*(pid for pid in children(self._far.pid) if b"held.keeper" in command(pid)))


def children(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def command(pid: int) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
    return b""

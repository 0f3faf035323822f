"""Jobs whose trees do all that they can to stay, and who holds them: what tests of dying guardians and keepers look at.

Belongs here: starting such jobs, finding their processes, their guardians and keepers. Does not: who dies, and when.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prouter import hookimpl
from prouter.agent.guard import client, running
from prouter.client import Job
from prouter.testing import AgentDaemon, Fleet, eventually

NASTY, FORK_STORM = (Path(__file__).parents[1] / "jobs" / name for name in ("nasty_tree.py", "fork_storm.py"))
HAS_GROUPS = os.environ.get("PROUTER_TEST_CGROUPS") != "off"
"""Whether this user may make cgroups."""
CGROUPS = ["auto", "off"] if HAS_GROUPS else ["off"]
GONE_SECONDS = 2.0
"""What is promised."""
ROOM = 3
RELAYS, FORKING, THREADS = 8, 3, 4
STORM = f"""
import fcntl, os, threading, time

def relay():
    while True:
        if os.fork():
            os._exit(0)

def storm():
    while True:
        if os.fork() == 0:
            time.sleep(0.05)
            os._exit(0)
        time.sleep(0.005)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

held = open("held", "w")
fcntl.flock(held, fcntl.LOCK_EX)
for number in range({RELAYS}):
    if os.fork() == 0:
        if number % 2:
            os.setsid()
        relay()
for _ in range({FORKING}):
    if os.fork() == 0:
        os.setsid()
        for _ in range({THREADS}):
            threading.Thread(target=storm).start()
        time.sleep(600)
open("ready", "w").close()
time.sleep(600)
"""
"""Relays, each process of which lives only until it has forked the next, and threads that fork all the time; in many
sessions, and never more than some two hundred at once: without a bound nobody could promise anything. All of them hold
one lock: whoever looks for processes one after another could miss those that are that quick."""


class QuickToEnd:
    """For `fleet.agent(plugins=[...])`: it does not wait long for who hangs."""

    @hookimpl
    def prouter_startup(self) -> None:
        running.KILL_SECONDS = running.HARD_SECONDS = 0.3


class QuickToReplace:
    """It does not wait long for a keeper that hangs, but long enough for one that just starts on a busy machine."""

    @hookimpl
    def prouter_startup(self) -> None:
        client.KEEPER_SECONDS = 2.0


def marked(mark: str) -> list[int]:
    """Processes with the mark among their arguments."""
    return [pid for pid, _ in marked_with([mark])]


def marked_with(marks: Iterable[str]) -> list[tuple[int, str]]:
    """Processes with one of the marks among their arguments, and which."""
    wanted = {mark.encode() for mark in marks}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mark = wanted.intersection((entry / "cmdline").read_bytes().split(b"\0"))
            if mark and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append((int(entry.name), mark.pop().decode()))
    return found


def is_there(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill(*pids: int) -> None:
    """All at once."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


async def seconds_until_gone(mark: str) -> float:
    """Raises AssertionError when the tree is there too long."""
    begun = time.monotonic()
    await eventually(lambda: not marked(mark), seconds=GONE_SECONDS * ROOM, what="the end of the whole tree")
    return time.monotonic() - begun


class Tree:
    """A job that runs, its mark, and the facts that its guardian wrote."""

    def __init__(self, nest: Nest, job: Job, mark: str) -> None:
        self.nest, self.job, self.mark = nest, job, mark
        self.uid = str(job.info["uid"])
        self.directory = nest.agent.jobs / self.uid
        self.facts: dict[str, Any] = json.loads((self.directory / "guardian.json").read_text())
        self.guardian = int(self.facts["guardian"]["pid"])
        self.main = int(self.facts["main"]["pid"])

    @property
    def keeper(self) -> int:
        return parent_of(self.guardian)

    async def ended(self) -> dict[str, Any]:
        """As `wait` tells it."""
        async with self.nest.router.client() as client:
            info: dict[str, Any] = await client.request("POST", f"{self.job.path}/wait", timeout=30)
        return info


class Storm(Tree):
    """A job of STORM."""

    def __init__(self, nest: Nest, job: Job, mark: str) -> None:
        super().__init__(nest, job, mark)
        self._lock = (self.directory / "sandbox" / "held").open("w")
        assert not self.is_over()

    def is_over(self) -> bool:
        """Whether no process of it is there, not even for a moment."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return True

    async def seconds_until_over(self) -> float:
        """Raises AssertionError when it is there too long."""
        begun = time.monotonic()
        await eventually(self.is_over, seconds=GONE_SECONDS * ROOM, what="the end of the storm")
        return time.monotonic() - begun

    def __enter__(self) -> Storm:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()


class Nest:
    """A router and an agent that can be started anew."""

    def __init__(
        self,
        fleet: Fleet,
        cgroups: str,
        *settings: str,
        plugins: tuple[type, ...] = (),
        environ: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> None:
        """`patient`: with who hangs, as long as shipped."""
        self.cgroups = cgroups
        plugins = plugins if patient else (QuickToEnd, *plugins)
        self.router = fleet.router()
        self.agent: AgentDaemon = fleet.agent(
            self.router, f"jobs.cgroups={cgroups}", *settings, plugins=plugins, environ=environ
        )
        fleet.expected_errors += ["the keeper of processes ended", "the keeper of processes hangs", "guardian"]

    async def job(self, *words: str, name: str = "job", **options: Any) -> Job:
        """One that was started, and serves nothing."""
        await self.router.agent_is_there(self.agent)
        async with self.router.client() as client:
            job = await client.create({"type": "uid", "uid": self.agent.uid}, name)
            if words and words[0] == "nasty.py":
                await job.upload(NASTY, "nasty.py")
            await job.start([sys.executable, "-S", *words], port_expected_count=0, **options)
        return job

    async def nasty(self) -> Tree:
        mark = secrets.token_hex(8)
        job = await self.job("nasty.py", mark, name="nasty")
        await eventually((self.agent.sandbox(job) / "ready").exists, what="the nasty tree")
        await eventually(lambda: len(marked(mark)) >= 11, what="all of the nasty tree")
        return Tree(self, job, mark)

    async def plain(self, program: str = "import time; time.sleep(600)", **options: Any) -> Tree:
        mark = secrets.token_hex(8)
        return Tree(self, await self.job("-c", program, mark, **options), mark)

    async def storm(self) -> Storm:
        mark = secrets.token_hex(8)
        job = await self.job("-c", STORM, mark, name="storm", limits={"processes": 2000})
        await eventually((self.agent.sandbox(job) / "ready").exists, what="a storm of forks")
        return Storm(self, job, mark)

    async def remove(self, tree: Tree) -> None:
        async with self.router.client() as client:
            await client.request("POST", f"{tree.job.path}/remove")


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Held by the kernel, as by a disk that does not answer, so that not even SIGKILL ends it before it is let go: by
    the freezer of version 1, where it is and we may; elsewhere it is stopped."""
    group = Path(f"/sys/fs/cgroup/freezer/prouter-test-{pid}")
    try:
        group.mkdir()
    except OSError:
        with stopped(pid):
            yield
        return
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.procs").write_text(str(pid))
        for _ in range(500):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.01)


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT to those that are there at the end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

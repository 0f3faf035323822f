"""What stays when an agent's process dies: its machine's disk and processes. A driver for jobs without any process.

Belongs here: what really runs, and how often it was really started: the truth that no record can change. Does not:
what the agent makes of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from simulated_time import EPOCH, NOWHERE, SimulatedLoop

from prouter.errors import StartFailed
from prouter.model.jobs import Reason
from prouter.model.plugin import LaunchRequest
from prouter.model.process import Exit

LAUNCH_SECONDS = 0.02
KILL_SECONDS = 0.05
NOTICE_SECONDS = 0.5
"""After which a guardian without an agent has ended its tree."""


class Process:
    """A job's tree, with its guardian."""

    def __init__(self, machine: Machine, job: str, pid: int) -> None:
        self.machine = machine
        self.job = job
        self.pid = pid
        self.exit: Exit | None = None
        self.owner = 0
        """The agent's boot that it belongs to."""
        self._waiting: list[asyncio.Future[None]] = []

    def end(self, code: int | None, reason: str) -> None:
        if self.exit is None:
            self.exit = Exit(code, reason, EPOCH + self.machine.loop.time())
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)

    async def ended(self) -> Exit:
        while self.exit is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        return self.exit


class Machine:
    """One for each agent, whatever becomes of the agent."""

    def __init__(self, loop: SimulatedLoop, disk: Path, orphan_seconds: float) -> None:
        self.loop = loop
        self.disk = disk
        self.survive = False
        self.orphan_seconds = orphan_seconds
        self.processes: dict[str, Process] = {}
        self.started: Counter[str] = Counter()
        """How often each job was really started."""
        self.lost: set[str] = set()
        """Jobs whose processes ended because an agent or a guardian did."""
        self.boot = 0
        self._pids = 100

    def boots(self) -> int:
        self.boot += 1
        return self.boot

    def launch(self, job: str, boot: int, seconds: float | None) -> Process:
        old = self.processes.get(job)
        assert old is None or old.exit is not None, f"job {job} runs twice"
        self._pids += 1
        self.started[job] += 1
        process = self.processes[job] = Process(self, job, self._pids)
        process.owner = boot
        if boot != self.boot:  # its agent has died in this moment
            self._notices(process)
        if seconds is not None:
            self.loop.call_later(seconds, process.end, 0, "exited", context=NOWHERE)
        return process

    def agent_died(self) -> None:
        self.boot += 1
        for process in self.running():
            self._notices(process)

    def guardian_dies(self, job: str) -> None:
        """And its tree with it."""
        self._lose(self.processes[job], None)

    def running(self) -> list[Process]:
        return [process for process in self.processes.values() if process.exit is None]

    def _notices(self, process: Process) -> None:
        seconds = self.orphan_seconds if self.survive else NOTICE_SECONDS
        owner = process.owner
        self.loop.call_later(
            seconds, lambda: self._lose(process, -9) if process.owner == owner else None, context=NOWHERE
        )

    def _lose(self, process: Process, code: int | None) -> None:
        if process.exit is None:
            self.lost.add(process.job)
            process.end(code, Reason.AGENT_LOST.value)


class SimulatedDriver:
    """Implements model.plugin.Driver, for one boot of an agent. `args` of a start: how many seconds, or "forever"."""

    name = "process"

    def __init__(self, machine: Machine, boot: int) -> None:
        self._machine = machine
        self._boot = boot

    async def start(self, request: LaunchRequest) -> SimulatedRunning:
        what = request.command.args[1]
        await asyncio.sleep(LAUNCH_SECONDS)
        if what == "fails":
            raise StartFailed("the program does not start")
        seconds = None if what == "forever" else float(what)
        process = self._machine.launch(request.job, self._boot, seconds)
        await asyncio.sleep(LAUNCH_SECONDS / 2)
        return SimulatedRunning(process)

    async def recover(self, job: str, job_directory: str) -> SimulatedRunning | Exit | None:
        await asyncio.sleep(LAUNCH_SECONDS)
        process = self._machine.processes.get(job)
        if process is None:
            return None
        if process.exit is not None:
            return process.exit
        if not self._machine.survive:
            self._machine.lost.add(job)
        process.owner = self._boot
        return SimulatedRunning(process)

    async def destroy(self, job: str, job_directory: str) -> None:
        process = self._machine.processes.get(job)
        if process is not None:
            process.end(-9, "stopped")


class SimulatedRunning:
    """Implements model.plugin.Running."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid = process.pid

    async def signal(self, number: int) -> None:
        await asyncio.sleep(0.001)
        self._process.end(-number, "signaled")

    async def kill(self, reason: str) -> Exit:
        await asyncio.sleep(KILL_SECONDS)
        self._process.end(-9, reason)
        return await self._process.ended()

    async def wait(self) -> Exit:
        return await self._process.ended()

    async def ports(self, only: int | None = None) -> dict[int, tuple[str, ...]]:
        return {}

    async def cpu_seconds(self) -> float | None:
        return None

    async def last_output(self, lines: int) -> str:
        return ""

    async def exiting(self) -> bool:
        return False

"""What stays when an agent's process dies: its machine's disk, guardians and trees. A driver for jobs of nothing else.

Belongs here: what really runs, how often it was really started, whose it is: the truth that no record can change. Does
not: what the agent makes of it. The agent's end of a guardian is the real one (prouter.agent.guard.running), and what
the two say to each other goes over simulated streams; the guardian itself, its keeper and its door are simulated.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulated_time import EPOCH, NOWHERE, SimulatedLoop

from prouter.agent.guard.running import GuardedTree
from prouter.errors import StartFailed
from prouter.model.jobs import Reason
from prouter.model.plugin import LaunchRequest
from prouter.model.process import Exit

ASK_SECONDS = 0.01
"""Until the keeper is asked for a guardian, and until that has its connection."""
FORK_SECONDS = 0.01
"""From there to the program's first instruction, whatever becomes of the agent."""
SAY_SECONDS = 0.001
"""Between an agent and a guardian."""
KILL_SECONDS = 0.05
NOTICE_SECONDS = 0.5
"""After which a guardian without an agent has ended its tree, unless it survives."""
ENDLESS = ("forever", "stubborn")
"""Programs that do not end by themselves; the latter takes no signal."""
FIRST_PID = 1 << 30
"""None of the real machine's."""


class Process:
    """A job's tree, with its guardian."""

    def __init__(self, machine: Machine, job: str, pid: int) -> None:
        self.machine = machine
        self.job = job
        self.pid = pid
        self.exit: Exit | None = None
        self.owner = 0
        """The agent's boot that it belongs to."""
        self.stubborn = False
        """Whether it takes no signal."""
        self._agent: asyncio.StreamReader | None = None

    def end(self, code: int | None, reason: str) -> None:
        """Its guardian writes that down, and tells its agent."""
        if self.exit is None:
            self.exit = Exit(code, reason, EPOCH + self.machine.loop.time())
            self._later(SAY_SECONDS, self._tell, self._agent)

    def die(self) -> None:
        """The guardian, and the tree with it; nobody says a word."""
        if self.exit is None:
            self.exit = Exit(None, Reason.AGENT_LOST.value, EPOCH + self.machine.loop.time())
            if self._agent is not None:
                self._later(SAY_SECONDS, self._agent.feed_eof)

    def held(self, boot: int) -> GuardedTree:
        """By an agent, which is told of the end from now on."""
        self.owner = boot
        reader = self._agent = asyncio.StreamReader()
        writer: Any = _Writer(lambda said: self._later(SAY_SECONDS, self._hear, said, boot))
        tree = GuardedTree(
            self.pid, self.pid, "", writer, end_hard=lambda *guardian: None, end_rest=lambda: asyncio.sleep(0)
        )
        tree.followed = asyncio.create_task(tree.follow(reader))  # type: ignore[attr-defined]
        if self.exit is not None:
            self._later(SAY_SECONDS, self._tell, reader)
        return tree

    def _tell(self, agent: asyncio.StreamReader | None) -> None:
        if agent is not None and self.exit is not None:
            end = self.exit
            told = {"exit_code": end.exit_code, "reason": end.reason, "finished_at": end.finished_at}
            agent.feed_data(json.dumps(told).encode() + b"\n")
            agent.feed_eof()

    def _hear(self, said: Mapping[str, Any], boot: int) -> None:
        if boot == self.owner and said["op"] == "kill":
            self._later(KILL_SECONDS, self.end, -9, said["reason"])
        elif boot == self.owner and said["op"] == "signal" and not self.stubborn:
            self.end(-said["number"], "signaled")

    def _later(self, seconds: float, what: Callable[..., object], *args: Any) -> None:
        self.machine.loop.call_later(seconds, what, *args, context=NOWHERE)


class _Writer:
    """An agent's way to a guardian."""

    def __init__(self, say: Callable[[Mapping[str, Any]], None]) -> None:
        self._say = say
        self._closed = False
        self.transport = SimpleNamespace(abort=self._abort)

    def _abort(self) -> None:
        self._closed = True

    def is_closing(self) -> bool:
        return self._closed

    def write(self, line: bytes) -> None:
        self._say(json.loads(line))


class Machine:
    """One for each agent, whatever becomes of the agent."""

    def __init__(self, loop: SimulatedLoop, disk: Path, orphan_seconds: float, *, survive: bool) -> None:
        self.loop = loop
        self.disk = disk
        self.survive = survive
        self.orphan_seconds = orphan_seconds
        self.processes: dict[str, Process] = {}
        self.started: Counter[str] = Counter()
        """How often each job was really started."""
        self.orphaned: set[str] = set()
        """Jobs whose guardians waited in vain."""
        self.boot = 0
        self._pids = FIRST_PID

    def boots(self) -> int:
        self.boot += 1
        return self.boot

    def launch(self, job: str, boot: int, what: str) -> None:
        old = self.processes.get(job)
        assert old is None or old.exit is not None, f"job {job} runs twice"
        self._pids += 1
        self.started[job] += 1
        process = self.processes[job] = Process(self, job, self._pids)
        process.owner = boot
        if boot != self.boot:  # its agent has died in this moment
            self._notices(process)
        process.stubborn = what == "stubborn"
        if what not in ENDLESS:
            self.loop.call_later(float(what), process.end, 0, "exited", context=NOWHERE)

    def agent_died(self) -> None:
        self.boot += 1
        for process in self.running():
            self._notices(process)

    def running(self) -> list[Process]:
        return [process for process in self.processes.values() if process.exit is None]

    def runs(self, job: str) -> bool:
        process = self.processes.get(job)
        return process is not None and process.exit is None

    def _notices(self, process: Process) -> None:
        """That it has no agent; the next one may come in time."""
        seconds = self.orphan_seconds if self.survive else NOTICE_SECONDS
        owner = process.owner

        def alone() -> None:
            if process.owner != owner or process.exit is not None:
                return
            if self.survive:
                self.orphaned.add(process.job)
            process.end(-9, Reason.ORPHANED.value if self.survive else Reason.AGENT_LOST.value)

        self.loop.call_later(seconds, alone, context=NOWHERE)


class SimulatedDriver:
    """Implements model.plugin.Driver, for one boot of an agent. `args` of a start: how many seconds it runs, or one of
    ENDLESS, or "fails"."""

    name = "process"

    def __init__(self, machine: Machine, boot: int) -> None:
        self._machine = machine
        self._boot = boot

    async def start(self, request: LaunchRequest) -> GuardedTree:
        what = request.command.args[1]
        await asyncio.sleep(ASK_SECONDS)
        if what == "fails":
            raise StartFailed("the program does not start")
        machine, job = self._machine, str(request.job)
        machine.loop.call_later(FORK_SECONDS, machine.launch, job, self._boot, what, context=NOWHERE)
        try:
            await asyncio.sleep(FORK_SECONDS + ASK_SECONDS)
        except asyncio.CancelledError:  # a guardian that sees us go ends what it began
            await asyncio.sleep(FORK_SECONDS)
            machine.processes[job].end(-9, Reason.START_FAILED.value)
            raise
        return machine.processes[job].held(self._boot)

    async def recover(self, job: str, job_directory: str) -> GuardedTree | Exit | None:
        await asyncio.sleep(ASK_SECONDS + FORK_SECONDS)
        process = self._machine.processes.get(job)
        if process is None:
            return None
        return process.exit or process.held(self._boot)

    async def destroy(self, job: str, job_directory: str) -> None:
        process = self._machine.processes.get(job)
        if process is not None:
            process.end(-9, Reason.STOPPED.value)

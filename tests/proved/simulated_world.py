"""The whole of it: two routers, two agents, their machines, the network, the clients, and every fault that there is.

Belongs here: what can be asked and what can break, each as one method, and how all is made well again. Does not: in
which order (the test), what must hold (tests/faults/history.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from history import LOST, OK, UNKNOWN, History, Truth, broken_promises
from simulated_machine import Machine
from simulated_network import Network
from simulated_nodes import ORPHAN_SECONDS, Agent, Router, simulated
from simulated_time import Node, SimulatedLoop, clocks_of

from prouter.errors import AgentAway, ProuterError
from prouter.model.access import ANONYMOUS
from prouter.model.ids import JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, StartRequest

ROUTERS = {"r1": 1, "r2": 2}
AGENTS = {"a1": (1, 2), "a2": (1,)}
"""And the ports that each dials."""
UPLOAD_SECONDS = 20.0
FILE = "some/file"


class World:
    """Begins with all nodes up and linked. `close` it, also when something failed."""

    def __init__(self, disk: Path, *, survive: bool = False) -> None:
        self.loop = SimulatedLoop()
        self.undo = ExitStack()
        self.undo.enter_context(clocks_of(self.loop))
        self.network = Network(self.loop)
        self.undo.enter_context(simulated(self.network))
        self.errors = Errors()
        self.undo.enter_context(self.errors)
        self.disk = disk
        self.history = History(self.loop.time)
        self.machines: dict[str, Machine] = {}
        self.nodes: list[Node] = []
        self.routers: dict[str, Router] = {}
        self.agents: dict[str, Agent] = {}
        self.runs = 0
        self.hurt: set[str] = set()
        self.brief: set[str] = set()
        self.uploads = 0
        for name in AGENTS:
            place = disk / name
            place.mkdir()
            machine = self.machines[name] = Machine(self.loop, place, ORPHAN_SECONDS)
            machine.survive = survive
        for name in ROUTERS:
            self.start_router(name)
        for name in AGENTS:
            self.start_agent(name)
        self.loop.run_for(1)

    # --- nodes ---

    def start_router(self, name: str) -> None:
        if name not in self.routers:
            self.runs += 1
            router = self.routers[name] = Router(name, ROUTERS[name], self.runs, self.loop, self.disk)
            self.nodes.append(router)

    def start_agent(self, name: str) -> None:
        if name not in self.agents:
            agent = self.agents[name] = Agent(name, AGENTS[name], self.loop, self.machines[name])
            self.nodes.append(agent)

    def crash_router(self, name: str) -> None:
        router = self.routers.pop(name, None)
        if router is not None:
            self.history.router_died(router.run)
            self._died(router)

    def crash_agent(self, name: str) -> None:
        agent = self.agents.pop(name, None)
        if agent is not None:
            self._died(agent)
            machine = self.machines[name]
            machine.agent_died()
            self.hurt |= {entry.name for entry in (machine.disk / "jobs").iterdir()}

    def _died(self, node: Node) -> None:
        node.alive = False
        self.network.died(node)

    def guardian_dies(self, job: str) -> None:
        for machine in self.machines.values():
            process = machine.processes.get(job)
            if process is not None and process.exit is None:
                self.hurt.add(job)
                machine.guardian_dies(job)

    def freeze(self, name: str) -> None:
        node = self.routers.get(name) or self.agents.get(name)
        if node is not None:
            node.frozen = True

    def thaw(self, name: str) -> None:
        node = self.routers.get(name) or self.agents.get(name)
        if node is not None and node.frozen:
            self.loop.thaw(node)

    def jump(self, name: str, seconds: float) -> None:
        node = self.routers.get(name) or self.agents.get(name)
        if node is not None:
            node.clock_seconds += seconds

    # --- lines ---

    def cut(self, agent: str, router: str) -> None:
        for wire in self.network.between(agent, router):
            wire.cut()

    def silence(self, agent: str, router: str) -> None:
        for wire in self.network.between(agent, router):
            wire.fall_silent()

    def slow(self, agent: str, router: str, there: float, back: float) -> None:
        for wire in self.network.between(agent, router):
            wire.delays = [there, back]

    def mend_lines(self) -> None:
        for wire in self.network.wires:
            wire.heal()
            wire.delays = [self.network.delay_seconds] * 2

    # --- clients ---

    def create(self, number: int, router: str) -> None:
        job = uid(number)
        if self.history.of(job).of("remove"):  # a uid stands for one job
            return
        agent = (None, "a1", "a2")[number % 3]
        if agent is None:  # routers share nothing: two of them may choose two agents
            router = "r1"
        locator = {"type": "model", "uid": agent} if agent else {"type": "model"}
        request = CreateRequest(locator, f"job {number}", uid=job)

        async def ask(at: Router) -> JobRecord:
            return (await at.jobs.create(request, ANONYMOUS))[1]

        self.ask("create", job, router, ask)

    def start(self, number: int, router: str) -> None:
        """Always with the same key, so that each but the first is a repetition."""
        job, seconds = uid(number), (1.5 if number >= BRIEF else None)
        if seconds is not None:
            self.brief.add(job)
        request = StartRequest(("run", "forever" if seconds is None else str(seconds)), ports=())
        self.ask("start", job, router, lambda at: at.jobs.start(self._ref(at, job), request, "start"), key="start")

    def restart(self, number: int, router: str, key: str) -> None:
        job = uid(number)
        self.ask("restart", job, router, lambda at: at.jobs.restart(self._ref(at, job), key), key=key)

    def stop(self, number: int, router: str) -> None:
        job = uid(number)
        self.ask("stop", job, router, lambda at: at.jobs.stop(self._ref(at, job), "TERM", 0.5))

    def remove(self, number: int, router: str, key: str | None) -> None:
        job = uid(number)
        self.ask("remove", job, router, lambda at: at.jobs.remove(self._ref(at, job), key), key=key)

    def wait(self, number: int, router: str, seconds: float | None) -> None:
        job = uid(number)
        self.ask("wait", job, router, lambda at: at.jobs.wait(self._ref(at, job), seconds), timeout=seconds is not None)

    def info(self, number: int, router: str) -> None:
        job = uid(number)

        async def ask(at: Router) -> JobRecord:
            return at.jobs.get(self._ref(at, job))

        self.ask("info", job, router, ask)

    def upload(self, number: int, router: str) -> None:
        self.uploads += 1
        job, content = uid(number), f"{self.uploads}".encode() * 3

        async def ask(at: Router) -> JobRecord:
            ref = self._ref(at, job)
            record = at.jobs.get(ref)
            at.directory.connected(ref.agent)
            agent = self.agents.get(ref.agent)
            if agent is None or agent.registry is None or not self.network.between(agent.name, at.name):
                raise AgentAway("the pipe is cut")
            done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self.loop.begin(self._carried(agent, job, content, done), agent, "upload")
            async with asyncio.timeout(UPLOAD_SECONDS):
                await done
            return record

        self.ask("upload", job, router, ask, value=content)

    @staticmethod
    async def _carried(agent: Agent, job: str, content: bytes, done: asyncio.Future[bool]) -> None:
        try:
            await asyncio.sleep(0.01)
            await agent.upload(job, FILE, content)
            await asyncio.sleep(0.01)
            done.done() or done.set_result(True)
        except ProuterError as error:
            done.done() or done.set_exception(error)

    @staticmethod
    def _ref(at: Router, job: JobUid) -> JobRef:
        return at.jobs.find(job)

    def ask(
        self, verb: str, job: str, router: str, ask: Callable[[Router], Awaitable[JobRecord]], **facts: Any
    ) -> None:
        """Of that router, if it is up. What is told goes into the history."""
        at = self.routers.get(router)
        if at is None or at.services is None:
            return
        asked = self.history.begin(verb, job, at.run, **facts)
        boots = self._boots(at)

        async def call() -> None:
            try:
                record = await ask(at)
            except TimeoutError:
                self.history.end(asked, UNKNOWN)
            except ProuterError as error:
                self.history.end(asked, error.code)
            else:
                told = None if verb in ("upload", "remove") else record
                self.history.end(asked, OK, boots=(boots, self._boots(at)), **(_facts(told) if told else {}))

        self.loop.begin(call(), at, f"{verb} of {job}")

    @staticmethod
    def _boots(at: Router) -> int:
        """Which boots of agents the router knows of."""
        return hash(tuple((entry.uid, entry.hello.boot) for entry in at.directory))

    # --- the end ---

    def heal(self) -> None:
        """Everything is up and linked again, and whatever was under way has had its time."""
        for node in [*self.routers.values(), *self.agents.values()]:
            if node.frozen:
                self.loop.thaw(node)
        self.mend_lines()
        for name in ROUTERS:
            self.start_router(name)
        for name in AGENTS:
            self.start_agent(name)
        self.loop.run_for(75)

    def truth(self) -> Truth:
        """After `heal`. Raises AssertionError when routers and agents do not say the same."""
        records: dict[str, list[tuple[str, str | None]]] = {}
        files = {}
        for name, agent in self.agents.items():
            theirs = {record.uid: record for record in agent.registry.list()}
            for router, port in ROUTERS.items():
                if port in AGENTS[name]:
                    known = self.routers[router].directory.entry(name).mirror
                    mirrored = {record.uid: record for record in known}
                    for job in mirrored.keys() - theirs.keys():  # lost amid a removal; it can be removed again
                        if mirrored[job].reason == LOST and job in self.hurt:
                            del mirrored[job]
                    assert mirrored == theirs, f"{router} believes {mirrored}, and {name} has {theirs}"
            for job, record in theirs.items():
                records.setdefault(job, []).append((record.state.value, record.reason))
                files[job] = agent.file(job, FILE)
        machines = self.machines.values()
        return Truth(
            records,
            {job: sum(m.started[job] for m in machines) for job in self.history.jobs()},
            [process.job for m in machines for process in m.running()],
            files,
            self.hurt,
            self.brief,
        )

    def end_all(self) -> None:
        """Jobs that still run are stopped, so that who waits for them has an answer."""
        for agent in self.agents.values():
            for record in agent.registry.list():
                if not record.ended:
                    router = next(name for name, port in ROUTERS.items() if port in AGENTS[agent.name])
                    verb = self.remove if record.state.value == "NEW" else self.stop
                    number = int(record.uid, 16)
                    verb(number, router, None) if verb == self.remove else verb(number, router)  # type: ignore[call-arg]
        self.loop.run_for(75)

    def close(self) -> None:
        try:
            for node in self.nodes:
                node.alive = True
            for wire in self.network.wires:
                wire.cut()
            self.loop.end(self.nodes)
        finally:
            self.undo.close()

    def broken_now(self) -> list[str]:
        """What can be seen to be wrong at any time."""
        broken = [*self.loop.failures, *self.errors.seen]
        for job in self.history.jobs():
            running = [m for m in self.machines.values() for p in m.running() if p.job == job]
            if len(running) > 1:
                broken.append(f"{job} runs on {len(running)} machines")
            calls = self.history.of(job)
            started = sum(m.started[job] for m in self.machines.values())
            if started > bool(calls.of("start")) + len({asked.key for asked in calls.of("restart")}):
                broken.append(f"{job} was started {started} times")
        return broken

    def prove(self) -> list[str]:
        """All is made well; what was promised and is not so."""
        self.heal()
        truth = self.truth()
        waits = [asked for asked in self.history.pending() if asked.verb == "wait" and not asked.timeout]
        hanging = [asked for asked in self.history.pending() if asked not in waits]
        calls = self.history.calls
        self.history.calls = [asked for asked in calls if asked not in waits]
        broken = [*self.broken_now(), *broken_promises(self.history, truth)]
        self.history.calls = calls
        if not hanging:
            self.end_all()
            broken += [f"it has not ended: {asked}" for asked in self.history.pending()]
        return broken


BRIEF = 6
"""Jobs of this number and above end by themselves."""


def uid(number: int) -> JobUid:
    return JobUid(f"{number:032x}")


def _facts(record: JobRecord) -> dict[str, Any]:
    return {"state": record.state.value, "reason": record.reason, "revision": record.revision}


class Errors(logging.Handler):
    """What was logged with a traceback: nobody foresaw it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.seen.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    def __enter__(self) -> Errors:
        logging.getLogger("prouter").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("prouter").removeHandler(self)

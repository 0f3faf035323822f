"""The whole of it: two routers, two agents, their machines, the network, the clients, and every fault that there is.

Belongs here: what can be asked and what can break, each as one method, and how all is made well again. Does not: in
which order (the test), what must hold (tests/faults/history.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from history import LOST, Truth, broken_promises
from simulated_clients import FILE, Clients
from simulated_machine import Machine
from simulated_network import Network
from simulated_nodes import ORPHAN_SECONDS, Agent, Router, simulated
from simulated_time import Node, SimulatedLoop, clocks_of

from prouter.model.jobs import JobState

ROUTERS = {"r1": 1, "r2": 2}
AGENTS = {"a1": (1, 2), "a2": (1,)}
"""And the ports that each dials."""
AGREE_SECONDS = 25.0
"""For every node that is up to know of what there is: what fell silent is given up and dialed again."""
END_SECONDS = 75.0
"""For every call to end once all is well."""


class World(Clients):
    """Begins with all nodes up and linked. `close` it, also when something failed."""

    def __init__(self, disk: Path, *, survive: bool = False, addresses: Mapping[str, tuple[int, ...]] = AGENTS) -> None:
        """`survive` as `jobs.survive_agent`. `addresses` by agent; a port may lead to a router later."""
        self.loop = SimulatedLoop()
        super().__init__()
        self.survive = survive
        self.addresses = addresses
        self.undo = ExitStack()
        self.undo.enter_context(clocks_of(self.loop))
        self.network = Network(self.loop)
        self.undo.enter_context(simulated(self.network))
        self.errors = Errors()
        self.undo.enter_context(self.errors)
        self.disk = disk
        self.machines: dict[str, Machine] = {}
        self.nodes: list[Node] = []
        self.routers: dict[str, Router] = {}
        self.agents: dict[str, Agent] = {}
        self.runs = 0
        self.hurt: set[str] = set()
        """Jobs that may be lost."""
        for name in AGENTS:
            place = disk / name
            place.mkdir()
            self.machines[name] = Machine(self.loop, place, ORPHAN_SECONDS, survive=survive)
        for name in ROUTERS:
            self.start_router(name)
        for name in AGENTS:
            self.start_agent(name)
        self.loop.run_for(1)
        if self.loop.failures:
            self.close()
            raise AssertionError(f"the nodes do not begin: {self.loop.failures}")

    # --- nodes ---

    def start_router(self, name: str) -> None:
        if name not in self.routers:
            self.runs += 1
            router = self.routers[name] = Router(name, ROUTERS[name], self.runs, self.loop, self.disk)
            self.nodes.append(router)

    def start_agent(self, name: str) -> None:
        if name not in self.agents:
            agent = self.agents[name] = Agent(name, self.addresses[name], self.loop, self.machines[name])
            self.nodes.append(agent)

    def crash_router(self, name: str) -> None:
        router = self.routers.pop(name, None)
        if router is not None:
            self.history.router_died(router.run)
            self._died(router)

    def crash_agent(self, name: str) -> None:
        agent = self.agents.pop(name, None)
        if agent is not None:
            self.hurt |= set(self._lost_with(agent))
            self._died(agent)
            self.machines[name].agent_died()

    def _lost_with(self, agent: Agent) -> Iterator[str]:
        """Where guardians wait for the next agent, only what has no guardian yet may be lost, and what is going; of a
        removal without a key nobody can tell a router that did not hear of it."""
        machine = self.machines[agent.name]
        if not self.survive:
            for entry in (machine.disk / "jobs").iterdir():
                yield entry.name
        for asked in self.history.calls:
            if asked.verb == "remove" and asked.key is None:
                yield asked.job
        for job in agent.registry or ():
            if job.removing or (job.record.state is JobState.PENDING and not machine.runs(job.record.uid)):
                yield job.record.uid

    def _died(self, node: Node) -> None:
        node.alive = False
        self.network.died(node)

    def guardian_dies(self, job: str) -> None:
        for machine in self.machines.values():
            process = machine.processes.get(job)
            if process is not None and process.exit is None:
                self.hurt.add(job)
                process.die()

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
        """And the pipes beside it."""
        for wire in self.network.between(agent, router):
            wire.cut()
        node = self.agents.get(agent)
        for task in list(node.carried.get(router, ())) if node is not None else ():
            task.cancel()

    def forgets(self, name: str, other: str) -> None:
        """Its line to the other one, which is told nothing."""
        for wire in self.network.between(name, other):
            wire.forgotten(name)

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
        self.loop.run_for(END_SECONDS)

    def settle(self) -> None:
        """The lines are well, and whatever is up has had time to hear of all that is."""
        self.mend_lines()
        self.loop.run_for(AGREE_SECONDS)

    def disagreements(self) -> list[str]:
        """Of nodes that are up, once they are settled: each knows of the other, over one link, and of the same jobs."""
        broken = []
        for name, agent in self.agents.items():
            theirs = {record.uid: record for record in agent.registry.list()}
            for router in self.reached_by(name):
                entry = self.routers[router].directory.known(name)
                if entry is None or entry.link is None:
                    broken.append(f"{router} believes {name} to be away")
                    continue
                broken += self._links_of(router, name)
                mirrored = {record.uid: record for record in entry.mirror}
                for job in mirrored.keys() - theirs.keys():  # it can be removed again
                    if mirrored[job].reason == LOST and job in self.hurt:
                        del mirrored[job]
                for job in mirrored.keys() | theirs.keys():
                    if mirrored.get(job) != theirs.get(job):
                        broken.append(f"{router} believes {mirrored.get(job)}, and {name} has {theirs.get(job)}")
        return broken

    def reached_by(self, agent: str) -> list[str]:
        """Routers that are up and that it dials."""
        return [name for name in self.routers if ROUTERS[name] in self.addresses[agent]]

    def _links_of(self, router: str, agent: str) -> Iterator[str]:
        for end in (router, agent):
            links = sum(wire.open_at(end) for wire in self.network.between(agent, router))
            if links != 1:
                yield f"{end} holds {links} links between {router} and {agent}"

    def truth(self) -> Truth:
        """After `heal`."""
        records: dict[str, list[tuple[str, str | None]]] = {}
        files = {}
        for agent in self.agents.values():
            for record in agent.registry.list():
                records.setdefault(record.uid, []).append((record.state.value, record.reason))
                files[record.uid] = agent.file(record.uid, FILE)
        machines = self.machines.values()
        return Truth(
            records,
            {job: sum(m.started[job] for m in machines) for job in self.history.jobs()},
            [process.job for m in machines for process in m.running()],
            files,
            self.hurt,
            self.brief,
            self.failing,
            [job for m in machines for job in m.orphaned],
        )

    def misheld(self) -> Iterator[str]:
        """After `heal`: what runs belongs to the agent that is there, and what ended did so as is said."""
        for agent in self.agents.values():
            for process in agent.machine.running():
                if process.owner != agent.boot:
                    yield f"{process.job} runs, and belongs to no agent"
            for record in agent.registry.list():
                ended = agent.machine.processes.get(record.uid)
                told = ended.exit if ended is not None and record.state is JobState.FINISHED else None
                if told is not None and told.reason == record.reason and told.exit_code != record.exit_code:
                    yield f"{record.uid} ended with {told.exit_code}, and {record.exit_code} is said"

    def end_all(self) -> None:
        """Jobs that still run are stopped, so that who waits for them has an answer."""
        for agent in self.agents.values():
            for record in agent.registry.list():
                if not record.ended:
                    router = self.reached_by(agent.name)[0]
                    verb = self.remove if record.state.value == "NEW" else self.stop
                    number = int(record.uid, 16)
                    verb(number, router, None) if verb == self.remove else verb(number, router)  # type: ignore[call-arg]
        self.loop.run_for(END_SECONDS)

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
        broken = [*self.broken_now(), *self.disagreements(), *self.misheld()]
        waits = [asked for asked in self.history.pending() if asked.verb == "wait" and not asked.timeout]
        hanging = [asked for asked in self.history.pending() if asked not in waits]
        calls = self.history.calls
        self.history.calls = [asked for asked in calls if asked not in waits]
        broken += broken_promises(self.history, self.truth())
        self.history.calls = calls
        if not hanging:
            self.end_all()
            broken += [f"it has not ended: {asked}" for asked in self.history.pending()]
            broken += [] if broken else [*self.disagreements(), *broken_promises(self.history, self.truth())]
        return broken


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

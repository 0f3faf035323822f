"""Routers and agents of the simulation: the real apps, on a simulated network, with simulated processes below them.

Belongs here: what of an app is not real, and how a node begins. Does not: what is asked of them (the model).
Real are RouterApp and AgentApp as they wire themselves: links with their machines, directory, mirrors, jobs service,
selection, memory; dialing, registration, RPC methods, registry, jobs with their records on a real disk, idempotency
keys, orphans, files. Not real are sockets (with HTTP and pipes), processes, plugins, threads and time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from simulated_machine import Machine, SimulatedDriver
from simulated_network import Channel, Network
from simulated_time import NODE, Node, SimulatedLoop

import prouter.agent.app as agent_app
import prouter.core.agents.endpoint as router_endpoint
import prouter.core.app as router_app
from prouter.agent.settings import Address
from prouter.cli import agent as agent_cli
from prouter.cli import router as router_cli
from prouter.errors import AgentNotFound, FileMissing, NoAgent
from prouter.model.access import Peer, Principal, Secret
from prouter.model.ids import AgentUid, JobUid
from prouter.model.plugin import Candidate
from prouter.model.services import AgentHost
from prouter.pluginkit.config import Settings
from prouter.pluginkit.pulse import Pulse
from prouter.pluginkit.schema import Schema
from prouter.rpc import websocket

ORPHAN_SECONDS = 600.0
PIECE_SECONDS = 0.015
"""Between two pieces of an upload."""


class ByUid:
    """The selector of the model: the agent that is named, or the first that is there."""

    name = "model"
    schema: Mapping[str, Any] = {}

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        there = sorted(candidate.uid for candidate in candidates)
        wanted = locator.get("uid")
        if wanted is not None:
            if wanted not in there:
                raise AgentNotFound(wanted)
            return AgentUid(wanted)
        if not there:
            raise NoAgent("no agent is connected")
        return there[0]


class OneHook:
    """Stands for Hooks and for PluginHost where one plugin offers one thing and nobody else has a say."""

    def __init__(self, offered: Mapping[str, Sequence[Any]]) -> None:
        self._offered = offered
        self.services: Any = None

    def implemented(self, hook: str) -> bool:
        return False

    def plugins(self, hook: str) -> list[str]:
        return []

    def collect(self, hook: str) -> list[tuple[str, Any]]:
        return [("model", self._offered[hook])] if hook in self._offered else []

    async def first(self, hook: str, **arguments: Any) -> tuple[str, Any] | None:
        return ("model", Principal("an agent")) if hook == "prouter_authenticate_agent" else None

    async def setup(self, hook: str, bundle: Any) -> None:
        (self.services,) = bundle("model").values()

    async def settle(self, *claims: Any) -> None:
        pass

    async def close(self, *seconds: Any) -> None:
        pass

    def watch(self, plugin: str) -> OneHook:
        return self

    def over(self, work: Awaitable[Any], what: str) -> Awaitable[Any]:
        return work

    def route(self, route: Any) -> Any:
        return route

    def notify(self, hook: str, **arguments: Any) -> None:
        pass

    def queues(self) -> Mapping[str, Any]:
        return {}

    def describe(self) -> Sequence[Any]:
        return ()

    def owns(self, *what: Any) -> None:
        pass

    def hear_exceptions(self) -> None:
        pass

    def loaded(self) -> Mapping[str, str]:
        return {}

    def missing(self) -> str:
        return ""


class NoKeeper:
    """Of guardians, which the machine has."""

    def __init__(self, *what: Any, **more: Any) -> None:
        pass

    def enforced(self) -> Mapping[str, str]:
        return {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


class State:
    """A state directory without a lock: a crash of the simulation closes no descriptors."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, given: str, kind: str) -> State:
        return cls(Path(given))

    def uid(self) -> str:
        return self.path.name

    def close(self) -> None:
        pass


class Listening:
    """Stands for an Acceptor: the agent endpoint of a router is reached over the simulated network."""

    network: Network

    def __init__(self, name: str, dispatcher: Any, *more: Any) -> None:
        self._name = name
        self._dispatcher = dispatcher

    async def listen(self, interface: str, port: int) -> tuple[str, int]:
        node = NODE.get()
        if isinstance(node, Router) and self._name == "server":
            self.network.listening[node.port] = (node, lambda channel: node.takes(channel, self._dispatcher.serve))
        return "127.0.0.1", 1

    async def drain(self, *seconds: Any) -> None:
        pass


def simulated(network: Network) -> ExitStack:
    """What of the apps is not real, until it is closed."""
    stack = ExitStack()
    listening = type("Listening", (Listening,), {"network": network})
    for place, name, instead in (
        (websocket, "dial", network.dial),
        (agent_app, "Acceptor", listening),
        (router_app, "Acceptor", listening),
        (agent_app, "make_keeper", NoKeeper),
        (agent_app, "open_state", lambda settings: State(Path(settings.root))),
        (router_app, "StateDirectory", State),
        (Pulse, "begin", lambda pulse: None),
        (Pulse, "end", lambda pulse: None),
        (router_endpoint, "LinkDoor", lambda redeem, serve, *more: SimpleNamespace(serve=serve)),
    ):
        stack.enter_context(patch.object(place, name, instead))
    return stack


@cache
def settings_of(kind: str) -> Settings:
    """The defaults of a daemon."""
    schema = Schema()
    schema.add("prouter", {"router": router_cli, "agent": agent_cli}[kind].KIND.sections)
    return Settings(schema.defaults(), schema)


class Router(Node):
    """One run of a router."""

    services: Any = None
    """Once it is up."""

    def __init__(self, name: str, port: int, run: int, loop: SimulatedLoop, disk: Path) -> None:
        super().__init__(name)
        self.port = port
        self.run = f"{name} run {run}"
        self._loop = loop
        loop.begin(self._start(disk / name), self, self.run)

    async def _start(self, disk: Path) -> None:
        disk.mkdir(exist_ok=True)
        hooks: Any = OneHook({"prouter_selectors": [ByUid()]})
        app = router_app.RouterApp(
            settings_of("router"), hooks, hooks, lambda: app._sections, ready_file=None, insecure=True
        )
        app._settings = replace(app._settings, state_directory=str(disk), orphan_seconds=ORPHAN_SECONDS)
        await app.start()
        self.services = hooks.services

    @property
    def jobs(self) -> Any:
        return self.services.jobs

    @property
    def directory(self) -> Any:
        return self.jobs._directory

    def takes(self, channel: Channel, serve: Any) -> None:
        if self.alive:
            self._loop.begin(serve(channel, Peer("127.0.0.1", 1)), self, f"agent at {self.name}")


class Agent(Node):
    """One boot of an agent."""

    registry: Any = None
    """Once it is up."""

    def __init__(self, name: str, ports: Sequence[int], loop: SimulatedLoop, machine: Machine) -> None:
        super().__init__(name)
        self.machine = machine
        self.carried: dict[str, set[asyncio.Task[None]]] = {}
        """Uploads that are under way, by the router that they come from."""
        self.boot = machine.boots()
        loop.begin(self._start(ports), self, f"{name} boot {self.boot}")

    async def _start(self, ports: Sequence[int]) -> None:
        hooks: Any = OneHook({"prouter_drivers": [SimulatedDriver(self.machine, self.boot)]})
        app = agent_app.AgentApp(
            settings_of("agent"), hooks, hooks, lambda: app._sections, ready_file=None, insecure=True
        )
        addresses = tuple(Address("model", port) for port in ports)
        client = replace(app._settings.client, addresses=addresses, token=Secret("x" * 32), reconnect_seconds=1.0)
        app._settings = replace(
            app._settings,
            root=str(self.machine.disk),
            uid=self.name,
            client=client,
            orphan_seconds=ORPHAN_SECONDS,
            survive=self.machine.survive,
            activity_seconds=1000.0,
        )
        await app.start()
        services: AgentHost = hooks.services
        self.registry = services.jobs

    async def upload(self, job: str, path: str, content: bytes) -> None:
        """As the agent's own HTTP service does; what comes is written in two pieces."""
        async with self.registry.files(JobUid(job)) as files, files.writing(path) as upload:
            half = len(content) // 2
            await upload.write(content[:half])
            await asyncio.sleep(PIECE_SECONDS)
            await upload.write(content[half:])
            await upload.commit()

    async def download(self, job: str, path: str) -> bytes | None:
        """None: there is no such file."""
        async with self.registry.files(JobUid(job)) as files:
            try:
                async with files.reading(path) as opened:
                    return os.pread(opened.fd, 4096, 0)
            except FileMissing:
                return None

    def file(self, job: str, path: str) -> bytes | None:
        place = Path(self.machine.disk, "jobs", job, "sandbox", path)
        return place.read_bytes() if place.exists() else None

"""Builds the agent and wires everyone. No behaviour lives here."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from prouter import __version__
from prouter.agent.dialing import Dialing
from prouter.agent.doors import REPORT_PATH, ControlDoor, ReportDoor, RouterDoor
from prouter.agent.draining import DrainSwitch
from prouter.agent.files.sandbox import SandboxOpener
from prouter.agent.guard.adoption import Survival
from prouter.agent.guard.choice import Keeper, make_keeper
from prouter.agent.identity import Self, introduce, jobs_directory, open_state
from prouter.agent.inside import tell_agent
from prouter.agent.jobs.admission import Admission
from prouter.agent.jobs.clean_up import Limits as CleanUpLimits
from prouter.agent.jobs.drivers import Drivers
from prouter.agent.jobs.feedback import PortFeedback
from prouter.agent.jobs.finished import Finished
from prouter.agent.jobs.hooks import JobHooks
from prouter.agent.jobs.limits import JobLimits
from prouter.agent.jobs.orphans import Orphans
from prouter.agent.jobs.ports import PortFinders
from prouter.agent.jobs.records import Records
from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.jobs.removed import Removals
from prouter.agent.jobs.serving import LOOPBACK
from prouter.agent.jobs.start import inherited_environment, property_environment
from prouter.agent.jobs.surroundings import Surroundings
from prouter.agent.links import Links, Shared
from prouter.agent.methods import JobMethods
from prouter.agent.reporting import listen_where_before
from prouter.agent.service import Service
from prouter.agent.settings import AgentSettings, Endpoint
from prouter.agent.targets import PipeTargets
from prouter.errors import ConfigError
from prouter.model.ids import AgentUid
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.methods import OWN_METHODS, RpcMethod
from prouter.model.services import AgentHost
from prouter.pipe.agent_end import PipeTimes
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.claims import Claims, named
from prouter.pluginkit.config import Settings
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.inside import Inside
from prouter.pluginkit.pulse import Pulse
from prouter.pluginkit.ready import ready_document, url_of, write_ready_file
from prouter.pluginkit.repeats import Repeats
from prouter.pluginkit.state import StateDirectory, plugin_directory
from prouter.pluginkit.tasks import TaskOwner
from prouter.rpc.machine import IdCounter
from prouter.rpc.websocket import DEAD_AFTER_INTERVALS
from prouter.web.acceptor import Acceptor
from prouter.web.limits import LINKS_KEEP_BACK, WebLimits
from prouter.web.outcomes import Dispatcher
from prouter.web.routes import RouteTable, claims_of

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""For background work and open requests to end when the agent does."""
MAX_REPEATS = 4096
"""Requests of plugins with an Idempotency-Key whose repetition is answered like the first one."""
ENDPOINT_NAMES = {"server": "agent endpoint", "control": "control endpoint", "report": "port reports of jobs"}


class TokenHolder(Protocol):
    """Who checks or sends tokens."""

    def take_tokens(self, settings: AgentSettings) -> None:
        """From a configuration that was read again."""


class AgentApp:
    """One agent, from start to stop. The configuration is valid when it is made."""

    def __init__(
        self,
        settings: Settings,
        host: PluginHost,
        hooks: Hooks,
        reread: Callable[[], Settings],
        *,
        ready_file: Path | None,
        insecure: bool,
    ) -> None:
        self._sections = settings
        self._settings = AgentSettings.read(settings.section)
        self._settings.refuse_open_doors(insecure=insecure)
        self._host = host
        self._hooks = hooks
        self._job_hooks = JobHooks(hooks)
        self._reread = reread
        self._insecure = insecure
        self._token_holders: list[TokenHolder] = []
        self._drivers = Drivers(self._settings.driver, self._settings.driver_seconds)
        self._ready_file = ready_file
        self._pulse = Pulse(self._settings.slow_callback_seconds)
        self._inside = Inside(settings, host, hooks, self._pulse.count)
        self._stop_asked = asyncio.Event()
        self.stop_seconds = math.inf  # jobs are ended, whose grace is theirs
        self._cleanup = AsyncExitStack()
        self.endpoints: dict[str, tuple[str, int]] = {}

    async def start(self) -> None:
        """Until everything listens and dials. What was begun is undone when it fails."""
        self._hooks.hear_exceptions()
        async with AsyncExitStack() as undo:
            await self._start(undo)
            self._cleanup = undo.pop_all()

    async def serve_until_stopped(self) -> None:
        await self._stop_asked.wait()

    def request_stop(self) -> None:
        self._stop_asked.set()

    def request_reload(self) -> None:
        """From a signal: read the tokens again; links that are up stay. A mistake leaves all as it is."""
        try:
            fresh = AgentSettings.read(self._reread().section)
            fresh.refuse_open_doors(insecure=self._insecure)
            listening = replace(fresh, server=self._settings.server, control=self._settings.control)
            listening.refuse_open_doors(insecure=self._insecure)
        except ConfigError as error:
            log.error("the configuration could not be read again, all stays as it is: %s", error.detail)
            return
        for holder in self._token_holders:
            holder.take_tokens(fresh)
        log.info("the tokens were read again")

    async def stop(self) -> None:
        """Jobs end first, while routers can still be told; then links, then the rest in the reverse order."""
        self._stop_asked.set()
        await self._cleanup.aclose()

    async def _start(self, undo: AsyncExitStack) -> None:
        settings = self._settings
        state = open_state(settings)
        undo.callback(state.close)
        tasks = TaskOwner("agent")
        undo.push_async_callback(tasks.close, CLOSE_SECONDS)
        guarded = make_keeper(
            tasks,
            cgroups=settings.cgroups,
            survival=Survival(settings.orphan_seconds) if settings.survive else None,
            call_seconds=settings.driver_seconds,
        )
        enforced = await asyncio.to_thread(guarded.enforced)
        who = introduce(settings, state, DrainSwitch(state.path, tasks), enforced)
        threads = ThreadPoolExecutor(settings.background_threads, "files")
        undo.callback(threads.shutdown, cancel_futures=True)
        await guarded.start()
        undo.push_async_callback(guarded.close)
        opener = SandboxOpener(settings.path_resolution, threads)
        admission = Admission(who.capacity, who.draining)
        registry = await self._make_registry(state, opener, admission)
        who.draining.told = registry.wake
        feedback = PortFeedback()
        orphans = Orphans(registry, settings.orphan_seconds)
        targets = PipeTargets(registry, opener)
        links = Links(self._shared(who, tasks, targets, orphans), settings.takeover_seconds)
        tell_agent(self._inside, links, registry, settings.max_jobs)
        finished = Finished(registry, CleanUpLimits(settings.finished_seconds, settings.disk_bytes))
        undo.callback(finished.close)
        ports = PortFinders(feedback, opener.connector, opener.clear_socket, settings.ports)
        around = self._surroundings(who, tasks, ports, registry)
        await self._start_plugins(undo, who, state, guarded, registry, targets, finished)
        await self._look_around(who)
        self._drivers.take(self._hooks.collect("prouter_drivers"), tasks)
        await registry.recover(around)
        targets.service = Service(AgentUid(who.identity.uid), self._route_table(), registry, self._host.missing)
        undo.push_async_callback(targets.service.close, CLOSE_SECONDS)
        undo.push_async_callback(links.close)
        undo.push_async_callback(registry.close)
        methods = JobMethods(
            registry,
            around,
            who.draining,
            settings.stop_grace_seconds,
            settings.activity_seconds,
            self._collect_rpc_methods(),
            self._pulse.count,
        )
        await self._open_doors(undo, state.path, who, links, registry, feedback, methods)
        tasks.start("orphans", orphans.run())
        tasks.start("finished jobs", finished.run())
        self._dial(tasks, links, methods)
        self._pulse.begin()  # while it starts nobody is held up
        undo.callback(self._pulse.end)
        if self._ready_file is not None:
            write_ready_file(self._ready_file, ready_document(who.identity.uid, self.endpoints))

    async def _make_registry(self, state: StateDirectory, opener: SandboxOpener, admission: Admission) -> JobRegistry:
        return JobRegistry(
            Records(jobs_directory(state)),
            opener,
            admission,
            self._job_hooks,
            await asyncio.to_thread(Removals, state.path / "removed"),
            max_jobs=self._settings.max_jobs,
            stop_grace_seconds=self._settings.stop_grace_seconds,
        )

    async def _look_around(self, who: Self) -> None:
        """What plugins find out about the machine becomes part of what the agent says of itself."""
        if not self._hooks.implemented("prouter_agent_properties"):
            return
        for plugin, facts in await self._hooks.gather("prouter_agent_properties"):
            try:
                who.learn(facts)
            except ValueError as error:
                log.error("plugin %s: what it found out about the machine is left out: %s", plugin, error)

    def _shared(self, who: Self, tasks: TaskOwner, targets: PipeTargets, orphans: Orphans) -> Shared:
        pipes = self._settings.pipes
        silent_seconds = DEAD_AFTER_INTERVALS * self._settings.ping_interval_seconds
        times = PipeTimes(pipes.bind_seconds, pipes.connect_seconds, pipes.half_close_seconds, silent_seconds)
        return Shared(who, IdCounter(), tasks, targets, times, pipes.max_count, orphans)

    def _surroundings(self, who: Self, tasks: TaskOwner, ports: PortFinders, registry: JobRegistry) -> Surroundings:
        async def environment(record: JobRecord, request: StartRequest) -> Mapping[str, str]:
            env = inherited_environment(os.environ)
            if self._hooks.implemented("prouter_job_environment"):
                env = await self._hooks.chain("prouter_job_environment", env=env, record=record, request=request)
            return env | property_environment(who.properties)

        def over(record: JobRecord) -> None:
            self._hooks.notify("prouter_job_ended", subject=record.uid, record=record)

        return Surroundings(
            tasks=tasks,
            ports=ports,
            limits=JobLimits.read(self._settings.limits, self._settings.max_limits, who.limits),
            drivers=self._drivers,
            environment=environment,
            told=registry.told,
            check_again=registry.check_again,
            over=over,
            hooks=self._job_hooks,
            lines=self._settings.lines,
            survive=self._settings.survive,
        )

    def _collect_rpc_methods(self) -> list[RpcMethod]:
        return [method for _, found in self._hooks.collect("prouter_rpc_methods") for method in found]

    async def _start_plugins(
        self,
        undo: AsyncExitStack,
        who: Self,
        state: StateDirectory,
        guarded: Keeper,
        registry: JobRegistry,
        targets: PipeTargets,
        finished: Finished,
    ) -> None:
        """Each plugin gets a bundle of its own: tasks and a directory that end and belong to it."""

        repeats = Repeats(MAX_REPEATS)
        owned = await undo.enter_async_context(AsyncExitStack())  # ends behind the hooks: shut down, then cancelled

        def bundle(plugin: str) -> dict[str, Any]:
            tasks = TaskOwner(f"plugin {plugin}", self._hooks.watch(plugin))
            self._hooks.owns(plugin, tasks)
            owned.push_async_callback(tasks.close, CLOSE_SECONDS)
            services = AgentHost(
                identity=who.identity,
                version=__version__,
                config=self._sections,
                guarded=guarded,
                jobs=registry,
                ports=targets,
                repeats=repeats,
                tasks=tasks,
                state_directory=plugin_directory(state.path, plugin),
                state=self._inside.state,
                would_remove=finished.would_remove,
            )
            return {"agent": services}

        undo.push_async_callback(self._hooks.close, CLOSE_SECONDS)
        await self._hooks.setup("prouter_startup", bundle)
        claims: dict[str, Claims] = {
            "prouter_drivers": named("driver"),
            "prouter_agent_routes": claims_of,
            "prouter_rpc_methods": _method_claims,
        }
        await self._hooks.settle(claims)

    def _route_table(self) -> RouteTable:
        table = RouteTable()
        for plugin, routes in self._hooks.collect("prouter_agent_routes"):
            table.add(plugin, map(self._hooks.watch(plugin).route, routes))
        return table

    async def _open_doors(
        self,
        undo: AsyncExitStack,
        directory: Path,
        who: Self,
        links: Links,
        registry: JobRegistry,
        feedback: PortFeedback,
        methods: JobMethods,
    ) -> None:
        settings = self._settings

        async def listen(port: int) -> tuple[str, int]:
            return await self._listen(undo, "report", Endpoint(LOOPBACK, port), ReportDoor(feedback))

        report = await (listen_where_before(directory, listen) if settings.survive else listen(0))
        feedback.url = url_of(*report) + REPORT_PATH
        if settings.server is not None:
            door = RouterDoor(
                links, methods, settings.accept_tokens, settings.ping_interval_seconds, settings.handshake_seconds
            )
            self._token_holders.append(door)
            await self._listen(undo, "server", settings.server, door.door())
        if settings.control is not None:
            control = ControlDoor(who, links, registry, settings.control.interface, self.request_stop, self._inside)
            await self._listen(undo, "control", settings.control, control)

    async def _listen(
        self, undo: AsyncExitStack, name: str, endpoint: Endpoint, dispatcher: Dispatcher
    ) -> tuple[str, int]:
        limits = WebLimits(kept_back=LINKS_KEEP_BACK) if name == "server" else WebLimits()
        acceptor = Acceptor(name, dispatcher, limits)
        undo.push_async_callback(acceptor.drain, CLOSE_SECONDS)
        address = self.endpoints[name] = await acceptor.listen(endpoint.interface, endpoint.port)
        log.info("Listening on %s (%s)", url_of(*address), ENDPOINT_NAMES[name])
        return address

    def _dial(self, tasks: TaskOwner, links: Links, methods: JobMethods) -> None:
        settings = self._settings
        for address in settings.client.addresses:
            dialing = Dialing(
                address,
                settings.client,
                links,
                methods,
                ping_interval_seconds=settings.ping_interval_seconds,
                handshake_seconds=settings.handshake_seconds,
                gave_up=self.request_stop,
            )
            self._token_holders.append(dialing)
            tasks.start(f"link to {address}", dialing.run())


def _method_claims(method: RpcMethod) -> Sequence[str]:
    if method.name.startswith(OWN_METHODS):
        raise ValueError(f"method {method.name!r} has a name that is kept for the agent itself")
    return (f"method {method.name!r}",)


def build(
    settings: Settings,
    host: PluginHost,
    hooks: Hooks,
    reread: Callable[[], Settings],
    *,
    ready_file: Path | None,
    insecure: bool,
    connection_debug: bool = False,
) -> AgentApp:
    """An agent that has not started yet. Raises ConfigError for values that fit their schema and make no sense."""
    if connection_debug:
        for name in ("prouter.rpc", "prouter.agent.links", "prouter.agent.dialing"):
            logging.getLogger(name).setLevel(logging.DEBUG)
    return AgentApp(settings, host, hooks, reread, ready_file=ready_file, insecure=insecure)

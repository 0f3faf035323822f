"""Builds the router and wires everyone. No behaviour lives here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from prouter import __version__
from prouter.core.agents.endpoint import AgentEndpoint
from prouter.core.agents.returning import Returning
from prouter.core.dispatch import ControlDispatcher
from prouter.core.info import info_routes
from prouter.core.inside import tell_router, tell_waiting
from prouter.core.jobs.unheard import Unheard
from prouter.core.limits import body_limits, web_limits
from prouter.core.origin import Origins
from prouter.core.parts import AgentParts, JobParts
from prouter.core.reload import Reload
from prouter.core.resuming import Resuming
from prouter.core.services import Description
from prouter.core.settings import Endpoint, RouterSettings
from prouter.core.told import Told
from prouter.model.agents import Identity
from prouter.model.events import Failed
from prouter.model.plugin import Route
from prouter.model.services import Router
from prouter.model.traffic import Traffic
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.claims import of_selector
from prouter.pluginkit.config import Settings
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.inside import Inside
from prouter.pluginkit.pulse import Pulse
from prouter.pluginkit.ready import ready_document, url_of, write_ready_file
from prouter.pluginkit.state import StateDirectory, plugin_directory
from prouter.pluginkit.tasks import TaskOwner
from prouter.web.acceptor import Acceptor
from prouter.web.limits import LINKS_KEEP_BACK
from prouter.web.outcomes import Dispatcher
from prouter.web.routes import RouteTable, claims_of

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""For background work to end when it is cancelled."""
TAKEN_SECONDS = 15.0
"""When the router ends, for connections that came in time and were not accepted yet: some hundred are taken within a
tenth of a second, and on a machine that is busy with much else within seconds. It is part of `shutdown.drain_timeout`,
and half of that at most."""
END_SECONDS = 1.75
"""For all that ends behind the last request, when that took all of its time."""


class RouterApp:
    """One router, from start to stop. The configuration is valid when it is made."""

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
        self._settings = RouterSettings.read(settings.section)
        self._hooks = hooks
        self._reread = reread
        self._reload_by_signal: Callable[[], None] = lambda: None
        self._ready_file = ready_file
        self._insecure = insecure
        self._pulse = Pulse(self._settings.slow_callback_seconds)
        inside = Inside(settings, host, hooks, self._pulse.count)
        self._description = Description(host, hooks, settings.schema, self._pulse.count, inside)
        self._cleanup = AsyncExitStack()
        self.endpoints: dict[str, tuple[str, int]] = {}
        self._traffic = {"control": Traffic(), "server": Traffic()}
        self._control: Acceptor | None = None
        self._drains_since = 0.0
        """When the time for what was begun started, by the loop's clock."""
        self.stop_seconds = END_SECONDS + self._settings.notice_seconds + self._settings.drain_seconds
        self.uid = ""
        self._joined = asyncio.Event()

    async def start(self) -> None:
        """Until both endpoints listen. What was begun is undone when it fails."""
        async with AsyncExitStack() as undo:
            await self._start(undo)
            self._cleanup = undo.pop_all()

    async def serve_until_stopped(self) -> None:
        await self._description.stop_asked.wait()

    async def agent_joined(self) -> None:
        """Until an agent is connected."""
        await self._joined.wait()

    def request_stop(self) -> None:
        """From a signal or a client: ends `serve_until_stopped`."""
        self._description.request_shutdown()

    def request_reload(self) -> None:
        """From a signal: read the configuration again."""
        self._reload_by_signal()

    async def stop(self) -> None:
        """It is said, and all goes on; then waits end, requests that were begun finish, links close, as in `_start`
        backwards."""
        self._description.request_shutdown()
        if self._control is not None:
            self._control.wind_down()
            await asyncio.sleep(self._settings.notice_seconds)
            self._drains_since = asyncio.get_running_loop().time()
            await self._control.all_taken(min(TAKEN_SECONDS, self._settings.drain_seconds / 2))
        await self._cleanup.aclose()

    async def _start(self, undo: AsyncExitStack) -> None:
        self._hooks.hear_exceptions()
        state = StateDirectory.open(self._settings.state_directory, "router")
        undo.callback(state.close)
        tasks = TaskOwner("router")
        undo.push_async_callback(tasks.close, CLOSE_SECONDS)
        identity = Identity(self._settings.uid or state.uid(), self._settings.name)
        self.uid = identity.uid
        agents = AgentParts.of(self._sections, self._settings, self._hooks, state, tasks, identity, self._joined)
        inside, most = self._description.inside, web_limits(self._sections.section).connections
        tell_router(inside, agents.fleet, self._traffic, most)
        origins = Origins(self._settings)
        jobs = JobParts.of(
            self._sections, self._settings, self._hooks, agents, origins, self._traffic, insecure=self._insecure
        )
        await self._start_plugins(undo, state, agents, jobs)
        routes = await self._settle(agents, jobs)
        told = Told(self._hooks)
        await self._open(undo, agents, jobs, self._dispatcher(routes, agents, jobs, origins, told), told)
        tasks.start("housekeeping", agents.housekeeping.run())
        agents.dialer.resume(agents.remembered.dialed)
        self._pulse.begin()  # while it starts nobody is held up
        undo.callback(self._pulse.end)
        self._description.listening()
        if self._ready_file is not None:
            write_ready_file(self._ready_file, ready_document(identity.uid, self.endpoints))

    async def _settle(self, agents: AgentParts, jobs: JobParts) -> RouteTable:
        """What plugins contribute, once they have started."""
        info = info_routes(agents.fleet.identity, __version__, self._description)
        taken = {claim: "prouter itself" for route in info for claim in claims_of(route)}
        await self._hooks.settle({"prouter_selectors": of_selector, "prouter_routes": claims_of}, taken)
        jobs.selection.collect()
        self._description.contributes("selectors", jobs.selection.by_plugin())
        jobs.access.read_guards()
        reload = Reload(self._reread, self._hooks, jobs.access)
        self._description.reloads_by(reload)
        self._reload_by_signal = lambda: agents.fleet.tasks.start("reload", reload.by_signal())
        return self._route_table(info)

    def _dispatcher(
        self, routes: RouteTable, agents: AgentParts, jobs: JobParts, origins: Origins, told: Told
    ) -> ControlDispatcher:
        settings, directory = self._settings, agents.directory
        returning = Returning(directory, settings.reconnect_wait_seconds, settings.max_reconnect_waiters)
        tell_waiting(self._description.inside, agents.fleet, returning, jobs.provisioning, jobs.queued.now)
        control = ControlDispatcher(
            self._hooks,
            jobs.access,
            directory,
            routes,
            origins,
            body_limits=body_limits(self._sections.section),
            missing=self._description.missing,
            told=told,
            returning=returning,
            resuming=Resuming(directory, agents.fleet.tasks),
            queue=jobs.queued,
            unheard=Unheard(directory, agents.fleet.tasks),
        )
        jobs.explanations.rehearses_by(control.rehearse)
        return control

    async def _open(
        self, undo: AsyncExitStack, agents: AgentParts, jobs: JobParts, control: ControlDispatcher, told: Told
    ) -> None:
        """Both endpoints listen; how all that was taken there ends, in reverse order."""
        settings, directory = self._settings, agents.directory
        if settings.server is not None:
            door = AgentEndpoint(agents.fleet, jobs.access, told).door()
            server = await self._listen("server", settings.server, door)
            undo.push_async_callback(server.drain, CLOSE_SECONDS)
        undo.push_async_callback(directory.close)
        self._control = await self._listen("control", settings.control, control)
        undo.push_async_callback(self._drain, self._control)
        undo.callback(directory.end_waits)
        undo.callback(jobs.queue.end)
        undo.callback(jobs.provisioning.end)
        undo.callback(self._description.end)
        undo.callback(control.end)

    async def _drain(self, control: Acceptor) -> None:
        """In what is left of its time: the process ends when that is over, whatever took it."""
        passed = asyncio.get_running_loop().time() - self._drains_since if self._drains_since else 0.0
        drain, tunnel = (
            max(seconds - passed, 0.0) for seconds in (self._settings.drain_seconds, self._settings.tunnel_seconds)
        )
        await control.drain(drain, tunnel_seconds=tunnel, in_sight=True)

    async def _start_plugins(
        self, undo: AsyncExitStack, state: StateDirectory, agents: AgentParts, jobs: JobParts
    ) -> None:
        """Each plugin gets a bundle of its own: tasks and a directory that end and belong to it."""

        owned = await undo.enter_async_context(AsyncExitStack())  # ends behind the hooks: shut down, then cancelled

        def bundle(plugin: str) -> dict[str, Any]:
            tasks = TaskOwner(f"plugin {plugin}", self._hooks.watch(plugin))
            self._hooks.owns(plugin, tasks)
            owned.push_async_callback(tasks.close, CLOSE_SECONDS)
            services = Router(
                identity=agents.fleet.identity,
                version=__version__,
                config=self._sections,
                jobs=jobs.jobs,
                agents=jobs.agents,
                tasks=tasks,
                state_directory=plugin_directory(state.path, plugin),
                describe=self._description,
                explanations=jobs.explanations,
                repeats=jobs.jobs.repeats,
                queue=jobs.queued,
                failed=lambda about, detail: agents.events.tell(Failed(about, detail)),
                traffic=self._traffic,
                endpoints=self.endpoints,
                may_bridge=jobs.access.may_bridge,
            )
            return {"router": services}

        undo.push_async_callback(self._hooks.close, CLOSE_SECONDS)
        await self._hooks.setup("prouter_startup", bundle)

    def _route_table(self, info: Sequence[Route]) -> RouteTable:
        table = RouteTable()
        table.add("prouter", info)
        for plugin, routes in self._hooks.collect("prouter_routes"):
            table.add(plugin, map(self._hooks.watch(plugin).route, routes))
        self._description.served(table)
        return table

    async def _listen(self, name: str, endpoint: Endpoint, dispatcher: Dispatcher) -> Acceptor:
        limits = web_limits(self._sections.section)
        if name == "server":
            limits = replace(limits, kept_back=LINKS_KEEP_BACK)
        acceptor = Acceptor(name, dispatcher, limits, self._traffic[name])
        self.endpoints[name] = await acceptor.listen(endpoint.interface, endpoint.port)
        what = "control endpoint" if name == "control" else "agent endpoint"
        log.info("Listening on %s (%s)", url_of(*self.endpoints[name]), what)
        return acceptor


def build(
    settings: Settings,
    host: PluginHost,
    hooks: Hooks,
    reread: Callable[[], Settings],
    *,
    ready_file: Path | None,
    insecure: bool,
    connection_debug: bool = False,
) -> RouterApp:
    """A router that has not started yet. Raises ConfigError for values that fit their schema and make no sense."""
    if connection_debug:
        for name in ("prouter.rpc", "prouter.core.agents"):
            logging.getLogger(name).setLevel(logging.DEBUG)
    return RouterApp(settings, host, hooks, reread, ready_file=ready_file, insecure=insecure)

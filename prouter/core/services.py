"""The services that the router's plugins get, on top of the core's own objects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from prouter.core.agents.dialer import Dialer
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.halves import Halves
from prouter.core.agents.would_dial import WouldDial, may_dial
from prouter.errors import NotPossible, RemoteProtocolError
from prouter.model.access import Secret
from prouter.model.agents import DRAIN, AgentInfo, Drain, this_platform
from prouter.model.contributions import Metric
from prouter.model.http import AgentAnswer, RequestHead
from prouter.model.ids import AgentUid
from prouter.model.plugin import HealthCheck, Route
from prouter.model.telling import clipped, one_line
from prouter.model.traffic import HookCount, LoopCount
from prouter.model.trail import Trail, current
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.describe import contributions, names_of, plugin_facts
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.inside import Inside
from prouter.pluginkit.schema import Schema
from prouter.web.routes import RouteTable


class AgentsService:
    """Implements model.router_services.Agents."""

    def __init__(self, directory: AgentDirectory, dialer: Dialer) -> None:
        self._directory = directory
        self._dialer = dialer
        self._halves = Halves(directory)

    def list(self) -> Sequence[AgentInfo]:
        return [entry.info() for entry in self._directory]

    def returning(self) -> int:
        return self._directory.returning()

    def connections(self) -> Sequence[Mapping[str, Any]]:
        return self._directory.connections()

    def get(self, uid: AgentUid) -> AgentInfo:
        return self._directory.entry(uid).info()

    async def drain(self, uid: AgentUid, *, on: bool) -> AgentInfo:
        entry, link = self._directory.entry(uid), self._directory.connected(uid)
        if DRAIN not in link.hello.capabilities:
            raise NotPossible(f"agent {uid!r} can not be drained: it speaks a protocol that has no word for it")
        answer = await link.call("prouter_drain", on)
        try:
            drain = Drain.from_wire(answer)
        except (KeyError, ValueError, TypeError) as error:
            raise RemoteProtocolError(f"agent {uid!r} did not say whether it drains") from error
        if entry.link is link:
            entry.note_drain(drain)
        return entry.info()

    async def disconnect(self, uid: AgentUid, why: str) -> None:
        await self._directory.connected(uid).cut(one_line(why))

    async def dial(self, address: str, token: str | None = None) -> AgentUid:
        named = Secret(token) if token is not None else None
        trail = current.get()
        if trail is not None and trail.dry:
            return await self._as_if_dialed(trail, address, named)
        if not may_dial() and await self._dialer.linked(address, named) is None:
            raise WouldDial(address)
        return await self._dialer.dial(address, named)

    async def _as_if_dialed(self, trail: Trail, address: str, named: Secret | None) -> AgentUid:
        """An explanation was asked for: nothing is dialed. Raises WouldDial where a create would have to."""
        linked = await self._dialer.linked(address, named)
        if linked is None:
            if trail.choice is not None:
                trail.choice.would_dial = clipped(address)
            raise WouldDial(address)
        return linked

    async def call(self, uid: AgentUid, method: str, *args: Any, timeout_seconds: float | None = None) -> Any:
        return await self._halves.call(uid, method, args, timeout_seconds)

    async def http(
        self,
        uid: AgentUid,
        head: RequestHead,
        body: bytes = b"",
        *,
        timeout_seconds: float | None = None,
        max_bytes: int = 1024 * 1024,
    ) -> AgentAnswer:
        return await self._halves.http(uid, head, body, timeout_seconds=timeout_seconds, max_bytes=max_bytes)


class Description:
    """Implements model.router_services.RouterDescription; holds the one switch that ends the router."""

    def __init__(self, host: PluginHost, hooks: Hooks, schema: Schema, loop: LoopCount, inside: Inside) -> None:
        self._loop = loop
        self.inside = inside
        self._host = host
        self._hooks = hooks
        self._schema = schema
        self._contributed: dict[str, dict[str, Sequence[str] | None]] = {}
        self._listening = False
        self._routes: Sequence[Route] = ()
        self._reload: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
        self.stop_asked = asyncio.Event()
        self._ending = asyncio.Event()

    def platform(self) -> Mapping[str, str]:
        return this_platform()

    def plugins(self) -> Sequence[Mapping[str, Any]]:
        return plugin_facts(self._host, self._schema, self._contributed)

    def overview(self) -> Sequence[Mapping[str, Any]]:
        """Name, origin, state and hooks of each plugin: what /info has of them."""
        return self._host.describe()

    def contributes(self, what: str, by_plugin: Mapping[str, Sequence[Any]]) -> None:
        """What plugins brought ("routes", "selectors"), once it is known."""
        for plugin, brought in by_plugin.items():
            self._contributed.setdefault(plugin, {})[what] = names_of(brought)

    def routes(self) -> Sequence[Route]:
        return self._routes

    def served(self, table: RouteTable) -> None:
        """All routes of the control endpoint are known."""
        self._routes = list(table)
        self.contributes("routes", table.by_owner())
        for plugin in self._host.loaded():
            self._contributed.setdefault(plugin, {}).update(contributions(self._host, plugin, ("prouter_commands",)))

    def listening(self) -> None:
        """Both endpoints take connections."""
        self._listening = True

    def ready(self) -> bool:
        return self._listening and not self.stop_asked.is_set()

    def hook_calls(self) -> Sequence[HookCount]:
        return self._hooks.counts()

    def loop(self) -> LoopCount:
        return self._loop

    async def state(self, most_bytes: int) -> Mapping[str, Any]:
        return await self.inside.state(most_bytes)

    async def health(self) -> Sequence[HealthCheck]:
        if not self._hooks.implemented("prouter_health"):
            return ()
        return [check for _, check in await self._hooks.gather_at_once("prouter_health")]

    async def metrics(self) -> Sequence[tuple[str, Metric]]:
        if not self._hooks.implemented("prouter_metrics"):
            return ()
        answers = await self._hooks.gather_at_once("prouter_metrics")
        return [(plugin, metric) for plugin, metrics in answers for metric in metrics]

    def reloads_by(self, reload: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        """How the configuration is read again."""
        self._reload = reload

    async def reload(self) -> Mapping[str, Any]:
        assert self._reload is not None
        return await self._reload()

    async def ending(self) -> None:
        await self._ending.wait()

    def end(self) -> None:
        """What would stay open for ever closes now."""
        self._ending.set()

    def request_shutdown(self) -> None:
        self.stop_asked.set()

    def missing(self) -> str:
        """For a 404: which plugins are not there, so that a person knows why."""
        return self._host.missing()

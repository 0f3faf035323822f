"""Routers and agents in the test's own process and event loop: built by the same loader, there in a moment.

Jobs are processes here, too. What a process of its own is needed for (signals, a killed daemon, an environment, a
plugin that blocks or breaks the interpreter) is fleet.py's.
"""

from __future__ import annotations

import logging
import os
import secrets
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from prouter import __version__, hookimpl
from prouter.cli import options
from prouter.cli.agent import KIND as AGENT
from prouter.cli.logs import TextLines
from prouter.cli.router import KIND as ROUTER
from prouter.client import Client, Job
from prouter.errors import StartupError
from prouter.model.services import AgentHost, Router
from prouter.pluginkit.discovery import Found
from prouter.pluginkit.ready import url_of
from prouter.testing.loading import found_here, refuse_lists_of_plugins
from prouter.testing.processes import TAG, eventually, tagged_processes
from prouter.testing.talking import HasUid
from prouter.testing.wanted import Plugins

OWN_PLUGIN = "testing_kit"
"""The kit's plugin, by which tests get at the services that plugins get."""
GONE_SECONDS = 5.0
Services = TypeVar("Services", Router, AgentHost)


class App(Protocol):
    """RouterApp or AgentApp."""

    endpoints: dict[str, tuple[str, int]]

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Log(logging.Handler):
    """Lines as a daemon's log has them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(TextLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += self.format(record).splitlines()

    @contextmanager
    def listening(self) -> Iterator[None]:
        root, ours = logging.getLogger(), logging.getLogger("prouter")
        level = ours.level
        root.addHandler(self)
        ours.setLevel(logging.INFO)
        try:
            yield
        finally:
            ours.setLevel(level)
            root.removeHandler(self)


class Here(Generic[Services]):
    """A daemon of this process."""

    def __init__(self, app: App, place: Path, log: Log, loaded: options.Loaded, own: OwnPlugin) -> None:
        self.app = app
        self.place = place
        self._log = log
        self._loaded = loaded
        self._own = own

    @property
    def services(self) -> Services:
        """What plugins get at their start-up."""
        found: Services = self._own.services
        return found

    @property
    def uid(self) -> str:
        return self.services.identity.uid

    @property
    def log(self) -> str:
        """What all daemons of this process said."""
        return "\n".join(self._log.lines)

    def plugin(self, name: str) -> Any:
        """The instance that was loaded under this name; None when there is none."""
        return self._loaded.host.manager.get_plugin(name)

    def plugins(self) -> Mapping[str, Mapping[str, Any]]:
        """All by name, as GET /plugins shows them."""
        return {str(plugin["name"]): plugin for plugin in self._loaded.host.describe()}

    def address(self, endpoint: str) -> tuple[str, int]:
        """Where "control" or "server" listens."""
        return self.app.endpoints[endpoint]

    def url(self, endpoint: str = "control") -> str:
        return url_of(*self.address(endpoint))

    async def stop(self) -> None:
        """Graceful, as after SIGTERM. A second time it does nothing."""
        await self.app.stop()


class RouterHere(Here[Router]):
    """A router."""

    agent_token = ""
    """One that it accepts from agents."""

    def client(self, token: str | None = None) -> Client:
        """Of its API; to be used with `async with`."""
        return Client(self.url(), token)

    async def agent_is_there(self, agent: HasUid, *, seconds: float = 20.0, token: str | None = None) -> None:
        """Until the agent is connected; a token is not needed here."""

        def there() -> bool:
            return any(found.uid == agent.uid and found.connected for found in self.services.agents.list())

        await eventually(there, seconds=seconds, what=f"agent {agent.uid}")


class AgentHere(Here[AgentHost]):
    """An agent."""

    token = ""
    """One that it accepts from routers."""

    @property
    def jobs(self) -> Path:
        """Where its jobs have their directories."""
        return self.place / "state" / "jobs"

    def sandbox(self, job: Job) -> Path:
        """The directory that `job` sees as its own."""
        return self.jobs / str(job.info["uid"]) / "sandbox"


class OwnPlugin:
    """Keeps the services."""

    def __init__(self) -> None:
        self._services: Any = None

    @property
    def services(self) -> Any:
        assert self._services is not None, "it has not started"
        return self._services

    def found(self) -> Found:
        return Found(OWN_PLUGIN, "prouter", __version__, lambda: self)


class OwnRouterPlugin(OwnPlugin):
    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._services = router


class OwnAgentPlugin(OwnPlugin):
    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._services = agent


class InProcess:
    """Starts routers and agents here, ends them all. An async context manager. Settings are as for `--set`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tag = secrets.token_hex(8)
        self.expected_errors: list[str] = []
        """Parts of ERROR lines that a test causes on purpose."""
        self._log = Log()
        self._count = 0
        self._cleanup = AsyncExitStack()

    @property
    def log(self) -> str:
        return "\n".join(self._log.lines)

    async def __aenter__(self) -> Self:
        self._cleanup.enter_context(self._log.listening())
        self._cleanup.enter_context(_tagged(self.tag))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Agents end first: they end their jobs. Raises AssertionError for what is left, and for ERROR lines."""
        await self._cleanup.aclose()
        if kind is None:
            await eventually(lambda: not tagged_processes(self.tag), seconds=GONE_SECONDS, what="the end of all jobs")
            bad = [line for line in self._log.lines if " ERROR " in line or line.startswith("Traceback")]
            bad = [line for line in bad if not any(part in line for part in self.expected_errors)]
            assert not bad, "ERROR lines in the log:\n" + "\n".join(bad)

    async def router(self, *settings: str, plugins: Plugins = ()) -> RouterHere:
        """A router that listens on free ports. Raises ConfigError, StartupError."""
        from prouter.core.app import build

        token, own = secrets.token_hex(16), OwnRouterPlugin()
        place = self._new_place("router")
        words = [f"state.directory={str(place / 'state')!r}", *settings]
        loaded = _load(ROUTER, words, plugins, own, {"PROUTER_SERVER__ACCEPT_TOKENS": f"['{token}']"})
        app = build(loaded.settings, loaded.host, loaded.hooks, loaded.reread, ready_file=None, insecure=False)
        await self._begin(app)
        router = RouterHere(app, place, self._log, loaded, own)
        router.agent_token = token
        return router

    async def agent(
        self, router: RouterHere | None = None, *settings: str, plugins: Plugins = (), joins: bool = True
    ) -> AgentHere:
        """An agent, connected to `router`; without one it only listens. Raises ConfigError, StartupError.

        Not `joins`: nobody waits until it is connected, for agents that are refused.
        """
        from prouter.agent.app import build

        token, own = secrets.token_hex(16), OwnAgentPlugin()
        place = self._new_place("agent")
        secret = {"PAGENT_SERVER__ACCEPT_TOKENS": f"['{token}']"}
        dial: list[str] = []
        if router is not None:
            host, port = router.address("server")
            dial = ["client.enabled=True", f"client.address='{host}:{port}'"]
            secret["PAGENT_CLIENT__TOKEN"] = router.agent_token
        words = [*dial, f"jobs.root={str(place / 'state')!r}", *settings]
        loaded = _load(AGENT, words, plugins, own, secret)
        app = build(loaded.settings, loaded.host, loaded.hooks, loaded.reread, ready_file=None, insecure=False)
        await self._begin(app)
        agent = AgentHere(app, place, self._log, loaded, own)
        agent.token = token
        if router is not None and joins:
            await router.agent_is_there(agent)
        return agent

    async def _begin(self, app: App) -> None:
        await app.start()
        self._cleanup.push_async_callback(app.stop)

    def _new_place(self, kind: str) -> Path:
        place = self.place / f"{kind}-here-{self._count}"
        self._count += 1
        place.mkdir(parents=True)
        return place


def _load(
    kind: options.Kind, settings: list[str], plugins: Plugins, own: OwnPlugin, secret: Mapping[str, str]
) -> options.Loaded:
    given = found_here(plugins, kind.group)
    if given:
        refuse_lists_of_plugins(settings)
    required = [f"plugins.required={[plugin.name for plugin in given]!r}"] if given else []
    chosen = Namespace(config=None, set=[*required, *settings], no_plugin=[], safe=False)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PROUTER_", "PAGENT_"))}
    loaded = options.load(kind, chosen, environ | dict(secret), [*given, own.found()])
    state = {plugin["name"]: plugin for plugin in loaded.host.describe()}[OWN_PLUGIN]
    if state["state"] != "loaded":
        raise StartupError(f"the kit's own plugin is {state['state']}: {state['why']}")
    return loaded


@contextmanager
def _tagged(tag: str) -> Iterator[None]:
    """Jobs inherit a variable by which what is left of them is found."""
    old = os.environ.get(TAG)
    os.environ[TAG] = tag
    try:
        yield
    finally:
        del os.environ[TAG]
        if old is not None:
            os.environ[TAG] = old

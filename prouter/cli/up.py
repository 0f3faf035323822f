"""`prouter up`: a router and one local agent in this process, on loopback, for a first look and one machine's work."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import secrets
from argparse import Namespace
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prouter.cli import daemon, logs, options
from prouter.cli.agent import KIND as AGENT
from prouter.cli.router import KIND as ROUTER
from prouter.errors import ConfigError, StartupError
from prouter.pluginkit.config import UNKNOWN
from prouter.pluginkit.ready import ready_document, url_of, write_ready_file
from prouter.pluginkit.state import default_base

if TYPE_CHECKING:
    from prouter.core.app import RouterApp

FIRST_PORT = 8080
JOIN_SECONDS = 15.0


def run(words: Sequence[str]) -> int:
    given = _parser().parse_args(words)
    logs.set_up(given.log_level, given.log_format)
    return daemon.run(lambda: Up(given))


class Up:
    """Both apps, the agent's link to the router included. An App."""

    def __init__(self, given: Namespace) -> None:
        self._given = given
        self._state = (given.state or default_base() / "up").expanduser().absolute()
        self._stop = asyncio.Event()
        self._apps = contextlib.AsyncExitStack()
        self.stop_seconds = math.inf  # jobs are ended, whose grace is theirs

    async def start(self) -> None:
        """Until the agent is connected."""
        async with contextlib.AsyncExitStack() as undo:
            await self._start(undo)
            self._apps = undo.pop_all()

    async def serve_until_stopped(self) -> None:
        await self._stop.wait()

    def request_stop(self) -> None:
        self._stop.set()

    def request_reload(self) -> None:
        """Its configuration is its command line, which does not change."""

    async def stop(self) -> None:
        await self._apps.aclose()

    async def _start(self, undo: contextlib.AsyncExitStack) -> None:
        from prouter.agent.app import build as build_agent

        token = secrets.token_hex(16)
        router = await self._router(token)
        undo.push_async_callback(router.stop)
        undo.enter_context(_when(router.serve_until_stopped(), self._stop))
        host, port = router.endpoints["server"]
        loaded = _load(AGENT, {"PAGENT_CLIENT__TOKEN": token}, self._agent_settings(host, port), self._given)
        agent = build_agent(loaded.settings, loaded.host, loaded.hooks, loaded.reread, ready_file=None, insecure=False)
        await agent.start()
        undo.push_async_callback(agent.stop)
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await router.agent_joined()
        except TimeoutError:
            raise StartupError(f"the local agent did not join within {JOIN_SECONDS:g} s") from None
        self._announce(router.uid, router.endpoints)

    async def _router(self, token: str) -> RouterApp:
        """Started, at the port that was given, else at the usual one or, when somebody has that, at any."""
        from prouter.core.app import build as build_router

        async def started(port: int) -> RouterApp:
            secret = {"PROUTER_SERVER__ACCEPT_TOKENS": f"['{token}']"}
            loaded = _load(ROUTER, secret, self._router_settings(port), self._given)
            router = build_router(
                loaded.settings, loaded.host, loaded.hooks, loaded.reread, ready_file=None, insecure=False
            )
            await router.start()
            return router

        if self._given.port is not None:
            return await started(self._given.port)
        try:
            return await started(FIRST_PORT)
        except StartupError:
            return await started(0)

    def _router_settings(self, port: int) -> list[str]:
        return [
            f"state.directory={str(self._state / 'router')!r}",
            f"control.port={port}",
            "loop.slow_callback=0",  # both run on one loop, which the agent watches: it is the last to start
            *self._given.set,
        ]

    def _agent_settings(self, host: str, port: int) -> list[str]:
        return [
            f"jobs.root={str(self._state / 'agent')!r}",
            "client.enabled=True",
            f"client.address='{host}:{port}'",
            "server.enabled=False",
            "control.enabled=False",
            "identity.name='local'",
            "jobs.survive_agent=False",  # who ends it wants all to end
            *self._given.agent_set,
        ]

    def _announce(self, uid: str, endpoints: dict[str, tuple[str, int]]) -> None:
        if self._given.ready_file is not None:
            write_ready_file(self._given.ready_file, ready_document(uid, endpoints))
        print(f"prouter is up: {url_of(*endpoints['control'])}  (Ctrl-C ends it)", flush=True)


@contextlib.contextmanager
def _when(awaited: Any, event: asyncio.Event) -> Any:
    """Set `event` when `awaited` is done: a client that ends the router ends all."""
    task = asyncio.ensure_future(awaited)
    task.add_done_callback(lambda _: event.set())
    try:
        yield
    finally:
        task.cancel()


WHOSE = "--set is for parameters of the router, --agent-set for those of the agent"


def _load(kind: options.Kind, secret: dict[str, str], settings: list[str], given: Namespace) -> options.Loaded:
    """As the daemon would; the token comes by the environment of this call only, never by a process's arguments.

    A plugin that only the other one of the two has is not switched off here.
    """
    elsewhere = {point.name for point in entry_points(group=(AGENT if kind is ROUTER else ROUTER).group)}
    here = {point.name for point in entry_points(group=kind.group)}
    off = [name for name in given.no_plugin if name in here or name not in elsewhere]
    chosen = Namespace(config=None, set=settings, no_plugin=off, safe=given.safe)
    try:
        return options.load(kind, chosen, dict(os.environ) | secret)
    except ConfigError as error:
        if any(UNKNOWN in mistake for mistake in error.mistakes):
            raise ConfigError([*error.mistakes, WHOSE]) from None
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prouter up", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--port", type=int, help=f"port of the API; default {FIRST_PORT} if it is free, else any")
    add("--state", type=Path, help="directory for jobs and state")
    add("--log-level", choices=options.LEVELS, default="warning")
    add("--log-format", choices=("text", "json"), default="text")
    add("--set", action="append", default=[], metavar="SET", help="a parameter of the router")
    add("--agent-set", action="append", default=[], metavar="SET", help="a parameter of the agent")
    add("--ready-file", type=Path, metavar="PATH", help="where to write the endpoints, as JSON")
    add("--no-plugin", action="append", default=[], metavar="NAME", help="switch a plugin off")
    add("--safe", action="store_true", help="load no plugins but those that ship with prouter")
    return parser

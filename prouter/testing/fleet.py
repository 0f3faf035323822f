"""A router and its agents for one test."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from prouter.client import Client, Job
from prouter.testing.loading import refuse_lists_of_plugins, settings_for_process
from prouter.testing.processes import Daemon, eventually
from prouter.testing.survivors import end_survivors
from prouter.testing.talking import HasUid
from prouter.testing.wanted import Plugins

DaemonT = TypeVar("DaemonT", bound=Daemon)


class RouterDaemon(Daemon):
    """A router; `agent_token` is one that it accepts."""

    forks = True
    agent_token = ""

    def client(self, token: str | None = None) -> Client:
        return Client(self.url(), token)

    async def agent_is_there(self, agent: HasUid, *, seconds: float = 20.0, token: str | None = None) -> None:
        """Until the agent is connected; `token` is what a client needs here."""
        async with self.client(token) as client:

            async def there() -> bool:
                return any(found["uid"] == agent.uid and found["connected"] for found in await client.agents())

            await eventually(there, seconds=seconds, what=f"agent {agent.uid}")


class AgentDaemon(Daemon):
    """An agent; `token` is one that it accepts from routers."""

    forks = True
    token = ""

    @property
    def jobs(self) -> Path:
        """Where its jobs have their directories."""
        return self.place / "state" / "jobs"

    def sandbox(self, job: Job) -> Path:
        return self.jobs / str(job.info["uid"]) / "sandbox"


class Fleet:
    """Starts daemons, ends them all. Settings are as for `--set`: "server.port=9000"."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tag = secrets.token_hex(8)
        self.daemons: list[Daemon] = []
        self.expected_errors: list[str] = []
        """Parts of ERROR lines that a test causes on purpose."""

    def router(
        self,
        *settings: str,
        environ: Mapping[str, str] | None = None,
        flags: tuple[str, ...] = (),
        plugins: Plugins = (),
    ) -> RouterDaemon:
        """A router that listens on free ports. `plugins` are classes, texts or paths; they are required."""
        token = secrets.token_hex(16)
        place = self._place("router")
        loading = _loading(plugins, "prouter.plugins", place, settings)
        words = self._words(*loading, *settings, f"state.directory={str(place / 'state')!r}")
        secret = {"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([token])}
        router = RouterDaemon(place, [*words, *flags], secret | dict(environ or {}), self.tag)
        router.agent_token = token
        return self._begin(router)

    def agent(
        self,
        router: RouterDaemon | None = None,
        *settings: str,
        environ: Mapping[str, str] | None = None,
        flags: tuple[str, ...] = (),
        plugins: Plugins = (),
    ) -> AgentDaemon:
        """An agent that dials `router`; without one it only listens. `plugins` as for a router."""
        token = secrets.token_hex(16)
        place = self._place("agent")
        secret = {"PAGENT_SERVER__ACCEPT_TOKENS": json.dumps([token])} | _lesser_machine()
        dial: tuple[str, ...] = ()
        if router is not None:
            host, port = router.address("server")
            dial = ("client.enabled=True", f"client.address={host}:{port}")
            secret["PAGENT_CLIENT__TOKEN"] = router.agent_token
        loading = _loading(plugins, "prouter.agent_plugins", place, settings)
        words = self._words(*loading, *dial, *settings, f"jobs.root={str(place / 'state')!r}")
        agent = AgentDaemon(place, ["agent", *words, *flags], secret | dict(environ or {}), self.tag)
        agent.token = token
        return self._begin(agent)

    async def pair(self, *agent_settings: str) -> tuple[RouterDaemon, AgentDaemon]:
        """A router with one agent connected."""
        router = self.router()
        agent = self.agent(router, *agent_settings)
        await router.agent_is_there(agent)
        return router, agent

    def daemon(self, *words: str, environ: Mapping[str, str] | None = None) -> Daemon:
        """`prouter WORDS` and nothing else but a state directory of its own, listening."""
        place = self._place("daemon")
        return self._begin(Daemon(place, words, _own_state(place) | dict(environ or {}), self.tag))

    def refused(
        self, *words: str, environ: Mapping[str, str] | None = None, status: int = 2, traceback: bool = False
    ) -> str:
        """What `prouter WORDS` says when it ends at once with that status; `traceback`: a plugin's may be in it."""
        place = self._place("refused")
        daemon = Daemon(place, words, _own_state(place) | dict(environ or {}), self.tag)
        daemon.launch()
        ended = daemon.ended()
        assert ended == status, f"status {ended}:\n{daemon.log}"
        assert traceback or "Traceback" not in daemon.log, daemon.log
        return daemon.log

    def close(self) -> None:
        """End all, agents first: they end their jobs, and what outlives them ends, too."""
        for daemon in reversed(self.daemons):
            daemon.stop()
            daemon.close()
            if isinstance(daemon, AgentDaemon):
                end_survivors(daemon.jobs)

    def error_lines(self) -> list[str]:
        """ERROR lines in the logs that no test expects."""
        lines = [line for daemon in self.daemons for line in daemon.log.splitlines()]
        bad = [line for line in lines if " ERROR " in line or line.startswith("Traceback")]
        return [line for line in bad if not any(part in line for part in self.expected_errors)]

    def _begin(self, daemon: DaemonT) -> DaemonT:
        self.daemons.append(daemon)
        daemon.start()
        return daemon

    def _place(self, kind: str) -> Path:
        return self.place / f"{kind}-{len(self.daemons)}"

    @staticmethod
    def _words(*settings: str) -> list[str]:
        return [word for setting in settings for word in ("--set", setting)]


def _loading(plugins: Plugins, group: str, place: Path, settings: Sequence[str]) -> list[str]:
    loading = settings_for_process(plugins, group, place / "plugins")
    if loading:
        refuse_lists_of_plugins(settings)
    return loading


def _own_state(place: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(place / "state")}


def _lesser_machine() -> dict[str, str]:
    """Settings of agents on a machine without openat2 and writable cgroups, where a run of the tests asks for that."""
    wanted = {"PROUTER_TEST_PATHS": "PAGENT_JOBS__PATH_RESOLUTION", "PROUTER_TEST_CGROUPS": "PAGENT_JOBS__CGROUPS"}
    return {setting: os.environ[name] for name, setting in wanted.items() if name in os.environ}


async def serving_job(client: Client, agent: HasUid, program: str, name: str = "job") -> Job:
    """A job that runs a Python text which serves on the port in its environment's PORT."""
    job = await client.create({"type": "uid", "uid": agent.uid}, name)
    await job.start([sys.executable, "-c", program], port={"mode": "assign"})
    return job

"""A router and an agent of a benchmark's own, as processes, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.costs import cpu_seconds, family
from prouter.client import Client

START_SECONDS = 30.0
STOP_SECONDS = 30.0


class Daemon:
    """A prouter process. `place` is made for it."""

    def __init__(self, words: Sequence[str], place: Path, environ: Mapping[str, str]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.ready = place / "ready.json"
        self.log = (place / "log").open("wb")
        command = [sys.executable, "-m", "prouter", *words, "--ready-file", str(self.ready), "--log-level", "warning"]
        self.process = subprocess.Popen(command, env=os.environ | environ, stderr=self.log)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def where(self) -> dict[str, Any]:
        """Its endpoints, once it serves. Raises SystemExit when it does not come."""
        deadline = time.monotonic() + START_SECONDS
        while not self.ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"a daemon did not start, status {self.process.returncode}; see {self.log.name}")
            await asyncio.sleep(0.005)
        found: dict[str, Any] = json.loads(self.ready.read_text())
        return found

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@dataclass(frozen=True, slots=True)
class Pair:
    """A router, an agent that is connected to it, and a client of the router."""

    router: Daemon
    agent: Daemon
    client: Client
    uid: str
    """The agent's."""
    control: Mapping[str, Any]
    """Host and port of the control endpoint."""
    server: str
    """HOST:PORT where agents dial in."""
    token: str
    """Which they need."""

    def cpu_seconds(self) -> float:
        return cpu_seconds((self.router.pid, self.agent.pid))


def flags(settings: Mapping[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value!r}")]


@contextlib.asynccontextmanager
async def running(
    place: Path,
    settings: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    agent_settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Pair]:
    """Both with everything that ships, as it is without configuration; `settings` are further ones of the router,
    `agent_settings` of the agent."""
    token, environ = secrets.token_hex(16), environ or {}
    words = flags({"state.directory": str(place / "state")} | dict(settings or {}))
    with contextlib.ExitStack() as stack:
        secret = {"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([token])}
        router = Daemon(words, place / "router", {**environ, **secret})
        stack.callback(router.stop)
        where = await router.where()
        server = f"{where['server']['host']}:{where['server']['port']}"
        own = {"jobs.root": str(place / "jobs"), "client.enabled": True, "client.address": server}
        words = flags(own | dict(agent_settings or {}))
        agent = Daemon(["agent", *words], place / "agent", {**environ, "PAGENT_CLIENT__TOKEN": token})
        stack.callback(agent.stop)
        uid = (await agent.where())["uid"]
        async with Client(where["control"]["url"]) as client:
            await connected(client, uid)
            yield Pair(router, agent, client, uid, where["control"], server, token)


async def connected(client: Client, uid: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not any(known["uid"] == uid and known["connected"] for known in await client.agents()):
        if time.monotonic() > deadline:
            raise SystemExit(f"the agent {uid} did not come")
        await asyncio.sleep(0.01)


def jobs_aside(agent: Daemon, program: str) -> set[int]:
    """The agent and its guardians, without the jobs that are this program."""
    found = set()
    for pid in family([agent.pid]):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if pid == agent.pid or program.encode() not in words:
            found.add(pid)
    return found

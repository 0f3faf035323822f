"""An agent is started on this machine when none fits a job, and ended when it had no job for a while."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prouter import hookspecs, implements
from prouter.errors import ConfigError, ProuterError
from prouter.model.access import Guards, Peer, Principal, Refusal, Secret
from prouter.model.agents import AgentInfo, Hello
from prouter.model.ids import AgentUid, new_uid
from prouter.model.jobs import CreateRequest
from prouter.model.plugin import ConfigSection
from prouter.model.services import Router

NAME = "local_provisioner"
LOOK_SECONDS = 1.0
"""Between two looks at an agent, or less where idle_seconds is short."""
END_SECONDS = 8.0
"""For an agent to end its jobs and itself; beyond it is killed."""


@dataclass(eq=False, slots=True)
class LocalAgent:
    """One that we started."""

    uid: AgentUid
    token: Secret
    known: asyncio.Event = field(default_factory=asyncio.Event)
    """What became of its start: it is connected, or it ended."""
    process: Process | None = None
    ended: bool = False


class LocalProvisioner:
    """Provisions, and vouches for what it provisioned: each agent has a token of its own."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._agents: dict[str, LocalAgent] = {}

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        texts, number = {"type": "array", "items": {"type": "string"}}, {"type": "number", "minimum": 0.1}
        about: dict[str, dict[str, Any]] = {
            "max_agents": {"type": "integer", "minimum": 1, "default": 2, "description": "Agents at the same time."},
            "idle_seconds": number | {"default": 300, "description": "Seconds without a job until an agent is ended."},
            "types": texts | {"default": ["labels"], "description": "Types of locators that an agent is started for."},
            "settings": texts | {"default": [], "description": "Of each agent, as for `prouter agent --set`."},
        }
        return [ConfigSection(NAME, about)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._router, self._settings = router, router.config.section(NAME)
        names = list(router.config.section("access")["authenticators"])
        if NAME not in names or "token_auth" in names[: names.index(NAME)]:
            raise ConfigError([f"access.authenticators: {NAME} has to be one of them, before token_auth"])

    @implements(hookspecs.prouter_guards)
    def prouter_guards(self) -> Guards:
        return Guards(agents=True)

    @implements(hookspecs.prouter_authenticate_agent)
    def prouter_authenticate_agent(self, hello: Hello, peer: Peer) -> Principal | Refusal | None:
        agent = self._agents.get(hello.uid)
        if agent is None:
            return None
        return Principal(hello.uid, NAME) if agent.token.matches(hello.token) else Refusal("this uid is another's")

    @implements(hookspecs.prouter_agent_connected)
    def prouter_agent_connected(self, agent: AgentInfo) -> None:
        if agent.uid in self._agents:
            self._agents[agent.uid].known.set()

    @implements(hookspecs.prouter_provision_agent)
    async def prouter_provision_agent(
        self,
        request: CreateRequest,
        principal: Principal,
        considered: Mapping[AgentUid, str],
        progress: Callable[[str], None],
    ) -> AgentUid | Refusal | None:
        if request.locator.get("type") not in self._settings["types"] or "server" not in self._router.endpoints:
            return None
        if len(self._agents) >= self._settings["max_agents"]:
            return Refusal(f"{len(self._agents)} agents that were started here run already, which is the limit")
        agent = LocalAgent(AgentUid(f"local-{new_uid()[:12]}"), Secret(secrets.token_hex(16)))
        self._agents[agent.uid] = agent
        progress(f"starting agent {agent.uid} on the router's machine")
        self._router.tasks.start(f"agent {agent.uid}", self._life(agent))
        await agent.known.wait()
        return Refusal("the agent that was started ended at once; agents.log says why") if agent.ended else agent.uid

    @implements(hookspecs.prouter_shutdown)
    async def prouter_shutdown(self) -> None:
        await asyncio.gather(*(_end(agent.process) for agent in self._agents.values()))

    async def _life(self, agent: LocalAgent) -> None:
        """Whoever asked for it may be gone by now: the agent stays until it is idle."""
        place = self._router.state_directory / agent.uid
        try:
            place.mkdir(parents=True, mode=0o700)
            host, port = self._router.endpoints["server"]
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            settings = [
                *self._settings["settings"],
                f"identity.uid={agent.uid!r}",
                "client.enabled=True",
                f"client.address={f'[{host}]:{port}' if ':' in host else f'{host}:{port}'!r}",
                "client.exit_on_fail=True",  # nobody else would end it if the router were killed
                f"jobs.root={str(place)!r}",
            ]
            words = [word for setting in settings for word in ("--set", setting)]
            environ = {name: text for name, text in os.environ.items() if not name.startswith(("PROUTER_", "PAGENT_"))}
            environ["PAGENT_CLIENT__TOKEN"] = agent.token.reveal()
            with (self._router.state_directory / "agents.log").open("ab") as log:
                agent.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "prouter", "agent", *words, stdin=DEVNULL, stdout=log, stderr=log, env=environ
                )
            await self._until_idle(agent, agent.process)
        finally:
            try:
                await _end(agent.process)
            finally:
                agent.ended = True
                agent.known.set()
                del self._agents[agent.uid]
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _until_idle(self, agent: LocalAgent, process: Process) -> None:
        """Until it had no job for long enough, or its process ended. It drains first: no job may come at the end."""
        limit, agents = self._settings["idle_seconds"], self._router.agents
        since = time.monotonic()
        while process.returncode is None:
            await asyncio.sleep(min(LOOK_SECONDS, limit / 4))
            if not agent.known.is_set() or self._has_jobs(agent):
                since = time.monotonic()
            elif time.monotonic() - since >= limit:
                with suppress(ProuterError):  # it is gone
                    await agents.drain(agent.uid, on=True)
                    if self._has_jobs(agent):  # one that came in this moment
                        await agents.drain(agent.uid, on=False)
                        continue
                return

    def _has_jobs(self, agent: LocalAgent) -> bool:
        return any(info.jobs + info.waiting > 0 for info in self._router.agents.list() if info.uid == agent.uid)


async def _end(process: Process | None) -> None:
    if process is None or process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

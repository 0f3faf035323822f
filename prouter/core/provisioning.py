"""No agent can take a new job: plugins are asked to start one, and it is waited for. Bounded in time and in number.

Belongs here: asking, waiting, telling how far it is. Does not: choosing (selection.py), whose turn it is afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from prouter.core.agents.directory import AgentDirectory
from prouter.errors import NoAgent, PluginFailure, ProuterError, Unavailable
from prouter.model.access import Principal, Refusal
from prouter.model.events import AgentProvisioning
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest
from prouter.model.telling import one_line
from prouter.model.trail import current
from prouter.pluginkit.calling import Hooks

log = logging.getLogger(__name__)

HOOK = "prouter_provision_agent"
MAX_TOLD = 100
"""Sentences that one plugin may say about one job; more are dropped."""
RETRY_SECONDS = 10
"""For clients that come while too many wait already."""


class Provisioning:
    """Asks for agents on behalf of creates that found none."""

    def __init__(
        self,
        hooks: Hooks,
        directory: AgentDirectory,
        told: Callable[[AgentProvisioning], None],
        *,
        timeout_seconds: float,
        most: int,
    ) -> None:
        self._hooks = hooks
        self._directory = directory
        self._told = told
        self._timeout_seconds = timeout_seconds
        self._most = most
        self._under_way: set[asyncio.Timeout] = set()
        self._ending = False
        self._room = asyncio.Event()
        """Less than the most are under way."""
        self._room.set()

    @property
    def full(self) -> bool:
        """As many wait for agents to be started as may."""
        return len(self._under_way) >= self._most

    async def until_room(self) -> None:
        """Those who came first are the first to see it."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    @property
    def under_way(self) -> int:
        """Jobs that wait for an agent to be started."""
        return len(self._under_way)

    async def provide(
        self,
        request: CreateRequest,
        principal: Principal,
        refused: ProuterError,
        not_taken: Mapping[AgentUid, str],
    ) -> None:
        """On return an agent that was started for this job is connected: choose again.

        Raises `refused` when nobody starts one, NoAgent when it is refused, too late, or too many wait already.
        """
        if not self._hooks.implemented(HOOK):
            raise refused
        plugins = self._hooks.plugins(HOOK)
        trail = current.get()
        if trail is not None and trail.dry:
            trail.would_provision = plugins
            raise refused
        if self.full:
            detail = (
                f"{refused.detail}; {self._most} jobs wait for agents to be started already, which is the limit "
                "(selection.max_provisioning)"
            )
            raise NoAgent(detail, retry_after=RETRY_SECONDS, extra=refused.extra)
        attempt = _Attempt(request, self._told)
        try:
            async with asyncio.timeout(self._timeout_seconds) as deadline:
                self._under_way.add(deadline)
                try:
                    await self._ask(attempt, plugins, principal, refused, not_taken)
                finally:
                    self._under_way.discard(deadline)
                    self._room.set()
                    attempt.over = True
        except TimeoutError:
            if self._ending:
                raise Unavailable("the router is ending; ask again when it is back") from None
            attempt.tell(attempt.asked, f"{attempt.awaited} within {self._timeout_seconds:g} s")
            detail = f"{refused.detail}; {attempt.awaited} within {self._timeout_seconds:g} s"
            raise _no_agent(detail, refused, attempt.asked, f"{attempt.awaited} in time") from refused

    def end(self) -> None:
        """The router is about to end: nobody waits any longer."""
        self._ending = True
        for deadline in self._under_way:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def _ask(
        self,
        attempt: _Attempt,
        plugins: Sequence[str],
        principal: Principal,
        refused: ProuterError,
        not_taken: Mapping[AgentUid, str],
    ) -> None:
        for plugin in plugins:
            attempt.asked, attempt.awaited = plugin, f"plugin {plugin} started no agent"
            found = await self._hooks.first(
                HOOK,
                only=[plugin],
                request=attempt.request,
                principal=principal,
                considered=not_taken,
                progress=attempt.progress_of(plugin),
            )
            if found is None:
                continue
            answer = found[1]
            if isinstance(answer, Refusal):
                attempt.tell(plugin, f"no agent is started: {answer.reason}")
                detail = f"{refused.detail}; {plugin} starts none: {answer.reason}"
                raise _no_agent(detail, refused, plugin, answer.reason) from refused
            if not isinstance(answer, str) or not answer:
                raise PluginFailure(plugin, HOOK, f"it answered {type(answer).__name__} instead of an agent's uid")
            await self._arrival(attempt, plugin, AgentUid(answer))
            return
        raise refused

    async def _arrival(self, attempt: _Attempt, plugin: str, uid: AgentUid) -> None:
        if self._directory.linked(uid) is None:
            attempt.awaited = f"the agent {uid!r} of plugin {plugin} did not connect"
            attempt.tell(plugin, f"agent {uid} is waited for")
            await self._directory.until_linked(uid)
        attempt.tell(plugin, f"agent {uid} is connected")


class _Attempt:
    """One job that waits for an agent."""

    def __init__(self, request: CreateRequest, told: Callable[[AgentProvisioning], None]) -> None:
        self.request = request
        self.asked = ""
        """The plugin whose turn it is."""
        self.awaited = ""
        """What did not happen, if this is the end."""
        self.over = False
        self._told = told

    def tell(self, plugin: str, detail: str) -> None:
        self._told(AgentProvisioning(self.request, plugin, one_line(detail)))

    def progress_of(self, plugin: str) -> Callable[[str], None]:
        """What the plugin gets: it may keep it for longer than anybody listens."""
        left = MAX_TOLD

        def progress(sentence: str) -> None:
            nonlocal left
            if left > 0 and not self.over:
                left -= 1
                self.tell(plugin, str(sentence))

        return progress


def _no_agent(detail: str, refused: ProuterError, plugin: str, reason: str) -> NoAgent:
    """The refusal of the selection, and that of the plugin which was to help."""
    before = refused.extra.get("considered", ())
    return NoAgent(detail, extra={"considered": [*before, {"agent": None, "plugin": plugin, "reason": reason}]})

"""Agents that the router dials: one link for each address and token, kept while the agent has a job of ours.

A link that is lost is dialed again, since such an agent can not dial us, until it had no router for the orphan timeout.
An agent that has another link to us (it dialed in, or was named by another address or token) is not dialed again while
that link lives: the two would replace each other for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable

from prouter.core.agents.directory import AgentEntry
from prouter.core.agents.fleet import Fleet
from prouter.core.agents.memory import DialedAgent
from prouter.core.agents.pipes import DialedOut
from prouter.core.agents.ways import Ways, split_address
from prouter.errors import AgentNotFound, Incompatible, LinkClosed, LinkError, ProuterError, Unauthorized
from prouter.model.access import Secret
from prouter.model.agents import Hello
from prouter.model.ids import AgentUid
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.tasks import told_to_end
from prouter.rpc import websocket
from prouter.rpc.connection import Link
from prouter.rpc.machine import IdCounter
from prouter.rpc.methods import Methods

log = logging.getLogger(__name__)

DIAL_SECONDS = 10.0
"""From the first packet to the end of the handshake."""
MAX_PAUSE_SECONDS = 3.0
"""The longest between two tries."""
MAX_LED = 1000
"""Addresses of which is known to which agent they led."""


class Dialer:
    """Owner of all links that we dialed."""

    def __init__(self, fleet: Fleet, changed: Callable[[], None], hooks: Hooks) -> None:
        self._fleet = fleet
        self._changed = changed
        self._ways = Ways(hooks)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._led: dict[tuple[str, str], tuple[AgentUid, str]] = {}
        """Address and token: the agent that took the token, and its boot."""

    def dialed(self) -> list[DialedAgent]:
        """Those whose jobs we may still have, for the next run of the router."""
        return [DialedAgent(kept.address, None if kept.asks else kept.token) for kept in self._kept.values()]

    def resume(self, agents: Iterable[DialedAgent]) -> None:
        """Dial the agents of the router's last run, in the background."""
        for agent in agents:
            self._keep(agent.address, agent.token, asks=agent.token is None, patient=True)

    async def dial(self, address: str, named: Secret | None) -> AgentUid:
        """The agent at HOST:PORT; a link to the same address with the same token is used again.

        Without a token that was named, the plugins are asked for one. Raises AgentNotFound when nothing answers there
        or the agent refuses the token, InvalidRequest for an address that is none, PluginFailure.
        """
        split_address(address)
        token = named if named is not None else await self._ways.token(address)
        key = (address, token.reveal())
        uid = self._linked_already(key)
        if uid is None:
            kept = self._kept.get(key) or self._keep(address, token, asks=named is None, patient=False)
            kept.want()
            uid = await kept.connected()
            kept.want()  # opening a way there may have taken longer than it was wanted for
            self._remember(key, uid)
        return uid

    async def linked(self, address: str, named: Secret | None) -> AgentUid | None:
        """The agent that `dial` would return without dialing. Raises as `dial` does for an address or a plugin."""
        split_address(address)
        token = named if named is not None else await self._ways.token(address)
        return self._led_to((address, token.reveal()))

    def _led_to(self, key: tuple[str, str]) -> AgentUid | None:
        uid, boot = self._led.get(key, (AgentUid(""), ""))
        hello = self._fleet.directory.linked(uid)
        return uid if hello is not None and hello.boot == boot else None

    def _linked_already(self, key: tuple[str, str]) -> AgentUid | None:
        """The agent behind this address, if it took this token since it started, and has any link to us now."""
        uid = self._led_to(key)
        if uid is None:
            return None
        for kept in self._kept.values():
            if kept.agent == uid:
                kept.want()
        return uid

    def _remember(self, key: tuple[str, str], uid: AgentUid) -> None:
        hello = self._fleet.directory.linked(uid)
        if hello is not None:
            self._led.pop(key, None)
            self._led[key] = (uid, hello.boot)
            if len(self._led) > MAX_LED:
                del self._led[next(iter(self._led))]

    def _keep(self, address: str, token: Secret | None, *, asks: bool, patient: bool) -> _Kept:
        key = (address, token.reveal() if token is not None else "")
        kept = _Kept(self._fleet, self._ways, self._remember, address, token, asks=asks, patient=patient)
        self._kept[key] = kept
        self._fleet.tasks.start(f"agent at {address}", self._run(key, kept))
        return kept

    async def _run(self, key: tuple[str, str], kept: _Kept) -> None:
        self._changed()
        try:
            await kept.run()
        finally:
            if not told_to_end() and self._kept.get(key) is kept:  # where the router ends, its next run dials it
                del self._kept[key]
            self._changed()


class _Kept:
    """One address and token: dialing, connected, or lost and dialed again."""

    def __init__(
        self,
        fleet: Fleet,
        ways: Ways,
        remember: Callable[[tuple[str, str], AgentUid], None],
        address: str,
        token: Secret | None,
        *,
        asks: bool,
        patient: bool,
    ) -> None:
        self.address = address
        self.token = token or Secret("")
        """Of the newest try."""
        self._fresh = token is not None
        """The token was not tried yet."""
        self.asks = asks
        """The token is the plugins': they are asked again before each try."""
        self._ways = ways
        self._remember = remember
        self.agent: AgentUid | None = None
        """Who answered there last."""
        self.wanted_until = 0.0
        """Monotonic: a client named this agent and is about to make a job there."""
        self._fleet = fleet
        self._patient = patient
        """Whether to try again after a first try that failed."""
        self._ids = IdCounter()
        self._up: asyncio.Future[AgentUid] = asyncio.get_running_loop().create_future()

    def want(self) -> None:
        """A client named this agent: the link stays for a while even without a job."""
        self.wanted_until = time.monotonic() + max(self._fleet.settings.polling_delay_seconds, DIAL_SECONDS)

    async def connected(self) -> AgentUid:
        """Raises AgentNotFound when it can not be reached."""
        try:
            async with asyncio.timeout(self._ways.seconds + DIAL_SECONDS + 2):
                return await asyncio.shield(self._up)
        except TimeoutError:
            raise AgentNotFound(self.address, f"agent connection not found: {self.address} does not answer") from None

    async def run(self) -> None:
        """Until the agent has no job of ours any more, or can not be reached for too long."""
        pause = 0.2
        lost_at = time.monotonic()
        try:
            while True:
                try:
                    idle = await self._one_link()
                    lost_at, pause, self._patient = time.monotonic(), 0.2, True
                    if idle:
                        return
                except (LinkError, Unauthorized) as error:
                    if not self._patient or time.monotonic() - lost_at > self._fleet.settings.orphan_seconds:
                        log.warning("no link to the agent at %s: %s", self.address, error.detail)
                        self._give_up(error.detail)
                        return
                if told_to_end():
                    return
                if self._up.done():
                    self._up = asyncio.get_running_loop().create_future()
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter, no secret
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
                if self.agent is not None and self._fleet.directory.linked(self.agent) is not None:
                    self._up.set_result(self.agent)  # by another link, which is newer: not ours to replace
                    return
        finally:
            self._give_up("the router is ending")

    def _give_up(self, why: str) -> None:
        if not self._up.done():
            self._up.set_exception(AgentNotFound(self.address, f"agent connection not found at {self.address}: {why}"))
            self._up.exception()  # seen: nobody may be waiting

    async def _way(self) -> tuple[str, int]:
        """Where to connect to now; with a new token where that is the plugins'. Raises LinkClosed where they fail."""
        try:
            place = await self._ways.place(self.address)
            if self.asks and not self._fresh:
                self.token = await self._ways.token(self.address)
        except ProuterError as error:
            raise LinkClosed(error.detail) from error
        self._fresh = False
        return place

    async def _one_link(self) -> bool:
        """One link from dialing to its end; True when we dropped it because the agent was idle."""
        host, port = await self._way()
        settings = self._fleet.settings
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                channel = await websocket.dial(host, port, ping_interval_seconds=settings.ping_interval_seconds)
        except TimeoutError:
            raise LinkClosed(f"{self.address} does not answer") from None
        rpc = await Link.connect(
            channel,
            user_data=self._fleet.hello(self.token.reveal()).to_wire(),
            ids=self._ids,
            methods=Methods(),
            handshake_timeout_seconds=settings.handshake_seconds,
        )
        try:
            self._fleet.check_skew(Hello.from_wire(rpc.peer))
        except Incompatible:
            await rpc.close()
            raise
        watcher = _IdleWatch(self, rpc)
        seconds = self._fleet.pool_limits.ticket_seconds
        await self._fleet.serve(
            rpc, "CLIENT", self.address, lambda link: DialedOut(link, host, port, seconds), watcher.start
        )
        return watcher.dropped

    def is_up(self, entry: AgentEntry) -> None:
        self.agent = entry.uid
        self._remember((self.address, self.token.reveal()), entry.uid)
        if not self._up.done():
            self._up.set_result(entry.uid)


class _IdleWatch:
    """Drops a link whose agent had no job of ours for `client.polling_delay`."""

    def __init__(self, kept: _Kept, rpc: Link) -> None:
        self.dropped = False
        self._kept = kept
        self._rpc = rpc

    def start(self, entry: AgentEntry) -> None:
        """The link is registered."""
        self._kept.is_up(entry)
        fleet = self._kept._fleet
        fleet.tasks.start(f"idle watch of {self._kept.address}", self._watch(entry, fleet))

    async def _watch(self, entry: AgentEntry, fleet: Fleet) -> None:
        delay = fleet.settings.polling_delay_seconds
        idle_since: float | None = None
        while True:
            await asyncio.sleep(max(0.05, min(delay / 2, 1.0)))
            if not self._is_the_link_of(entry, fleet):
                return
            now = time.monotonic()
            ours = any(record.sender.uid == fleet.identity.uid for record in entry.mirror)
            ours = ours or fleet.directory.waited_for(entry.uid)
            if ours:
                self._kept.wanted_until = 0.0
            if ours or now < self._kept.wanted_until:
                idle_since = None
                continue
            idle_since = idle_since or now
            if now - idle_since >= delay:
                self.dropped = True
                log.info("agent at %s has no job of ours; dropping the link", self._kept.address)
                fleet.directory.forget(entry.uid)
                await self._rpc.close()
                return

    def _is_the_link_of(self, entry: AgentEntry, fleet: Fleet) -> bool:
        """Not replaced, nor lost: an agent that has another link by now is not ours to forget."""
        link = entry.link
        known = fleet.directory.known(entry.uid)
        return not self._rpc.closed and known is entry and link is not None and link.rpc is self._rpc

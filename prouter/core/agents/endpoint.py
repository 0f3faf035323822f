"""Agents that dial in: who they are, and their link until its end. What arrives where is in web/link_door.py."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from prouter.core.access import Access
from prouter.core.agents.fleet import Fleet
from prouter.core.agents.pipes import AskedBack
from prouter.core.told import Told
from prouter.errors import LinkError, ProuterError
from prouter.model.access import Peer
from prouter.model.agents import Hello
from prouter.model.ids import AgentUid
from prouter.pluginkit.seldom import SeldomLog
from prouter.rpc.connection import Link
from prouter.rpc.methods import Methods
from prouter.rpc.websocket import AcceptedChannel
from prouter.web.link_door import Accept, LinkDoor

log = logging.getLogger(__name__)

REFUSED_AT_ONCE = 20
"""Lines about agents that were refused: those who can not come in are named, and nobody can fill the log with them."""


class AgentEndpoint:
    """What the door of the agent endpoint asks."""

    def __init__(self, fleet: Fleet, access: Access, told: Told) -> None:
        self._fleet = fleet
        self._access = access
        self._told = told
        self._refusals = SeldomLog(log, REFUSED_AT_ONCE)

    def door(self) -> LinkDoor:
        return LinkDoor(self._redeem, self._serve, self._fleet.settings.ping_interval_seconds)

    def _redeem(self, ticket: str) -> Accept | None:
        batch = self._fleet.tickets.redeem(ticket)
        return batch.accept if batch is not None and not batch.over else None

    async def _serve(self, channel: AcceptedChannel, peer: Peer) -> None:
        try:
            rpc = await Link.accept(
                channel,
                authenticate=lambda data: self._authenticate(data, peer),
                methods=Methods(),
                handshake_timeout_seconds=self._fleet.settings.handshake_seconds,
            )
        except ProuterError as error:
            self._refusals.warn("an agent at %s:%s was refused: %s", peer.host, peer.port, error.detail)
            return
        address = f"{peer.host}:{peer.port}"
        await self._fleet.serve(rpc, "SERVER", address, lambda link: AskedBack(link, self._fleet.tickets))

    async def _authenticate(self, data: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        try:
            hello = Hello.from_wire(data)
        except ValueError as error:
            raise LinkError(str(error)) from error
        with self._told.of_agent(AgentUid(hello.uid), peer) as found:
            found(await self._access.check_agent(hello, peer))
            self._fleet.check_skew(hello)
        return self._fleet.hello().to_wire()

"""The agent endpoint: GET /rpc/v1 takes control links, GET /pipe/v1 takes pipes, everything else is 404."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prouter.core.access import Access
from prouter.core.agents.fleet import Fleet
from prouter.core.agents.pipes import AskedBack
from prouter.errors import LinkError, RouteNotFound, Unauthorized
from prouter.model.access import Peer
from prouter.model.agents import Hello
from prouter.model.http import RequestHead
from prouter.pipe.opening import PATH as PIPE_PATH
from prouter.pipe.opening import UPGRADE
from prouter.rpc import websocket
from prouter.rpc.connection import Link
from prouter.rpc.limits import Limits
from prouter.rpc.methods import Methods
from prouter.web.outcomes import Allowance, Incoming, Outcome, Serve, Tunnel

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

HANDSHAKE_ALLOWANCE_BYTES = 2 * Limits().handshake_bytes
"""Of a websocket before its agent was let in: one handshake, frame headers and pings with it."""


class AgentEndpoint:
    """A Dispatcher."""

    def __init__(self, fleet: Fleet, access: Access) -> None:
        self._fleet = fleet
        self._access = access

    async def dispatch(self, incoming: Incoming) -> Outcome:
        head = incoming.head
        if head.method == "GET" and head.path == websocket.PATH and head.upgrade == "websocket":
            allowance = Allowance(HANDSHAKE_ALLOWANCE_BYTES)
            return Serve(lambda request: self._link(request, incoming.peer, allowance), allowance)
        if head.method == "GET" and head.path == PIPE_PATH:
            return self._pipe(head)
        raise RouteNotFound("this endpoint is for agents only")

    def _pipe(self, head: RequestHead) -> Tunnel:
        scheme, _, ticket = (head.get("authorization") or "").partition(" ")
        asked = head.upgrade == UPGRADE and scheme.lower() == "ticket"
        batch = self._fleet.tickets.redeem(ticket.strip()) if asked else None
        if batch is None:
            raise RouteNotFound("this ticket opens nothing")
        return Tunnel((("Connection", "Upgrade"), ("Upgrade", UPGRADE)), batch.accept)

    async def _link(self, request: web.BaseRequest, peer: Peer, allowance: Allowance) -> web.StreamResponse:
        settings = self._fleet.settings
        channel = await websocket.accept(
            request, ping_interval_seconds=settings.ping_interval_seconds, allowance=allowance
        )
        try:
            rpc = await Link.accept(
                channel,
                authenticate=lambda data: self._authenticate(data, peer),
                methods=Methods(),
                handshake_timeout_seconds=settings.handshake_seconds,
            )
        except (LinkError, Unauthorized) as error:
            log.warning("an agent at %s:%s was refused: %s", peer.host, peer.port, error.detail)
            return channel.response
        address = f"{peer.host}:{peer.port}"
        await self._fleet.serve(rpc, "SERVER", address, lambda link: AskedBack(link, self._fleet.tickets))
        return channel.response

    async def _authenticate(self, data: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        try:
            hello = Hello.from_wire(data)
        except ValueError as error:
            raise Unauthorized(str(error)) from error
        await self._access.check_agent(hello, peer)
        return self._fleet.hello().to_wire()

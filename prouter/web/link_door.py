"""The endpoint at which links and pipes arrive: GET /rpc/v1, GET /pipe/v1, 404 for all else. For both daemons."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from prouter.errors import InvalidRequest, RouteNotFound
from prouter.model.access import Peer
from prouter.model.http import Headers, Reply, RequestHead
from prouter.pipe.opening import PATH as PIPE_PATH
from prouter.pipe.opening import UPGRADE
from prouter.pipe.steps import in_a_task
from prouter.pipe.websocket import SUBPROTOCOL, WebsocketTransport, accept_value
from prouter.rpc import websocket
from prouter.rpc.limits import Limits
from prouter.web.outcomes import Allowance, Incoming, Outcome, Serve, Tunnel
from prouter.web.problem import problem
from prouter.web.serve import response

if TYPE_CHECKING:
    from aiohttp import web

HANDSHAKE_ALLOWANCE_BYTES = 2 * Limits().handshake_bytes
"""Of a websocket before its peer was let in: one handshake, frame headers and pings with it."""
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""Of a websocket: sixteen bytes."""

Accept = Callable[[asyncio.Transport, bytes], None]
"""Takes a pipe that was opened: its transport, reading paused, and what came behind its head."""


class LinkDoor:
    """A Dispatcher. `redeem` says what a ticket opens; `serve` has a link's channel until its end."""

    def __init__(
        self,
        redeem: Callable[[str], Accept | None],
        serve: Callable[[websocket.AcceptedChannel, Peer], Awaitable[None]],
        ping_interval_seconds: float,
    ) -> None:
        self._redeem = redeem
        self._serve = serve
        self._ping_interval_seconds = ping_interval_seconds

    async def dispatch(self, incoming: Incoming) -> Outcome:
        await in_a_task()
        head = incoming.head
        if head.method == "GET" and head.path == websocket.PATH and head.upgrade == "websocket":
            allowance = Allowance(HANDSHAKE_ALLOWANCE_BYTES)
            return Serve(lambda request: self._link(request, incoming, allowance), allowance)
        if head.method == "GET" and head.path == PIPE_PATH:
            return self._pipe(head) or self._nothing(incoming, "this ticket opens nothing")
        return self._nothing(incoming, "this endpoint is for links only")

    @staticmethod
    def _nothing(incoming: Incoming, why: str) -> Reply:
        """404, and the connection closes: whoever knocks at the wrong door need not stay."""
        return problem(RouteNotFound(why), incoming.request_id, close=True)

    def _pipe(self, head: RequestHead) -> Tunnel | None:
        scheme, _, ticket = (head.get("authorization") or "").partition(" ")
        switch = _switch(head)
        accept = self._redeem(ticket.strip()) if switch and scheme.lower() == "ticket" else None
        if accept is None:
            return None
        if head.upgrade == UPGRADE:
            return Tunnel(switch, accept)

        def through_frames(raw: asyncio.Transport, leftover: bytes) -> None:
            transport = WebsocketTransport(raw, dialed=False)
            accept(transport, transport.early(leftover))

        return Tunnel(switch, through_frames)

    async def _link(self, request: web.BaseRequest, incoming: Incoming, allowance: Allowance) -> web.StreamResponse:
        try:
            channel = await websocket.accept(
                request, ping_interval_seconds=self._ping_interval_seconds, allowance=allowance
            )
        except InvalidRequest as error:
            return response(problem(error, incoming.request_id))
        await self._serve(channel, incoming.peer)
        return channel.response


def _switch(head: RequestHead) -> Headers:
    """What the 101 says; nothing for a request that opens no pipe (for a websocket: RFC 6455 4.2.1)."""
    if head.upgrade == UPGRADE:
        return (("Connection", "Upgrade"), ("Upgrade", UPGRADE))
    offered = {name.strip() for line in head.all("sec-websocket-protocol") for name in line.split(",")}
    key, version = head.get("sec-websocket-key") or "", head.get("sec-websocket-version")
    if head.upgrade != "websocket" or SUBPROTOCOL not in offered or version != "13" or not _KEY.fullmatch(key):
        return ()
    return (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Accept", accept_value(key)),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    )

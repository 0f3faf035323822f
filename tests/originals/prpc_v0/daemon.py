"""What both programs do as processes: listen, say where, tell who they are, end on a signal."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from prpc_v0.link import PATH, SUBPROTOCOL, Link
from prpc_v0.settings import LinkSettings


def platform_facts() -> dict[str, str]:
    facts = platform.uname()
    names = ("system", "node", "release", "version", "machine", "processor")
    return {name: str(getattr(facts, name)) for name in names}


async def listen(
    runners: list[web.AppRunner], routes: Iterable[web.RouteDef], port: int = 0, middlewares: Iterable[Middleware] = ()
) -> int:
    """Serve the routes on loopback; the port. What listens is added to `runners`.

    A handler is cancelled when its client goes away, as aiohttp did in the original's time.
    """
    app = web.Application(client_max_size=0, middlewares=middlewares)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    runners.append(runner)
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    found: int = runner.addresses[0][1]
    return found


def rpc_route(settings: LinkSettings, accept: Any) -> web.RouteDef:
    """The endpoint at which the other side dials in; `accept(link socket)` serves it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), max_msg_size=settings.largest_message_bytes)
        await socket.prepare(request)
        await accept(socket)
        return socket

    return web.get(PATH, handle)


def announce(**facts: Any) -> None:
    """One line `READY {json}` on stdout, once everything listens."""
    print("READY " + json.dumps({"pid": os.getpid()} | facts), flush=True)


def on_signals(end: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)


def said_of(link: Link) -> dict[str, Any]:
    """A link as GET /connections tells of it; never a token."""
    peer = dict(link.peer)
    auth = {name: value for name, value in peer.get("auth", {}).items() if name != "token"}
    mode = "CLIENT" if link.dials else "SERVER"
    return {"uid": link.connection_id, "mode": mode, "peer": peer | {"auth": auth}}


def checked_auth(peer: Any) -> dict[str, Any]:
    """The auth part of user data. Raises TypeError, ValueError where an original refuses it."""
    if not isinstance(peer, dict) or not isinstance(peer.get("auth"), dict):
        raise TypeError("handshake data expected to be a dict with auth")
    auth: dict[str, Any] = peer["auth"]
    if not auth.get("uid"):
        raise ValueError("peer uid is invalid")
    if not isinstance(auth.get("name"), str):
        raise TypeError("peer name is invalid")
    return auth

"""Links of the imitated router: agents that dial in, and those that it dials and drops when they have no jobs left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web
from prpc_v0 import daemon
from prpc_v0.calls import LinkClosedError
from prpc_v0.link import PATH, SUBPROTOCOL, Link
from prpc_v0.settings import LinkSettings

from router_v0 import checks


class ConnectionNotFoundError(Exception):
    """No such link."""


class Links:
    def __init__(
        self, settings: LinkSettings, hello: Mapping[str, Any], accept_tokens: list[str], polling_seconds: float
    ) -> None:
        self._settings = settings
        self._hello = hello
        self._accept_tokens = accept_tokens
        self._polling_seconds = polling_seconds
        self._links: dict[str, Link] = {}
        self._dialed_in: dict[Any, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def all(self) -> list[Link]:
        return [link for link in self._links.values() if link.connected]

    def by_id(self, connection_id: str) -> Link:
        """Raises ConnectionNotFoundError."""
        if connection_id not in self._links:
            raise ConnectionNotFoundError(f"connection '{connection_id}' is not found")
        return self._links[connection_id]

    def by_agent(self, uid: str) -> Link:
        """An agent that dialed in. Raises ConnectionNotFoundError."""
        if uid not in self._dialed_in:
            raise ConnectionNotFoundError(f"no connected agent with uid '{uid}'")
        return self._dialed_in[uid]

    async def accept(self, socket: web.WebSocketResponse) -> None:
        """Serve an agent that dialed in; a second one of the same uid is refused while the first is there."""
        link = Link(self._settings, self._hello, self._check_dialer, None)
        try:
            await link.accept(socket)
        finally:
            self._unregister(link)

    async def dial(self, address: str, token: str) -> Link:
        """A new link to an agent that listens; ended when it has no jobs. Raises what a failed link raises."""
        auth = dict(self._hello["auth"]) | {"token": token}
        link = Link(self._settings, dict(self._hello) | {"auth": auth}, self._register, None)
        session = aiohttp.ClientSession()
        try:
            socket = await session.ws_connect(
                f"http://{address}{PATH}",
                protocols=(SUBPROTOCOL,),
                heartbeat=self._settings.heartbeat_seconds,
                max_msg_size=self._settings.largest_message_bytes,
            )
            checks.expect(socket.protocol == SUBPROTOCOL, "the subprotocol is confirmed", socket.protocol)
            running = await link.connect(socket)
        except BaseException:
            self._unregister(link)
            await session.close()
            raise
        self._start(self._until_it_ends(link, running, session))
        return link

    def watch(self, link: Link) -> None:
        """Ask a dialed agent for its jobs, at once and then after each delay, when no call is open."""
        self._start(self._watch(link))

    async def close(self) -> None:
        for link in list(self._links.values()):
            await link.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, link: Link) -> None:
        try:
            while link.connected:
                if not link.active and not checks.count(await link.call_unary("job_count_current_connection")):
                    await link.close()
                    return
                await asyncio.sleep(self._polling_seconds)
        except LinkClosedError:
            pass

    async def _until_it_ends(self, link: Link, running: asyncio.Task[None], session: aiohttp.ClientSession) -> None:
        try:
            await running
        finally:
            self._unregister(link)
            await session.close()

    def _check_dialer(self, link: Link, peer: Any) -> None:
        auth = daemon.checked_auth(peer)
        if auth.get("token") not in self._accept_tokens:
            raise ValueError("peer token is not authorized")
        if auth["uid"] in self._dialed_in:
            raise ValueError(f"incoming connection from peer '{auth['uid']}' is already registered")
        self._register(link, peer)
        self._dialed_in[auth["uid"]] = link

    def _register(self, link: Link, peer: Any) -> None:
        daemon.checked_auth(peer)
        checks.hello(peer)
        self._links[link.connection_id] = link
        print(f"LINK {link.connection_id} {peer['auth']['uid']}", file=sys.stderr, flush=True)

    def _unregister(self, link: Link) -> None:
        if self._links.pop(link.connection_id, None) is not None:
            print(f"LINK ENDED {link.connection_id}", file=sys.stderr, flush=True)
        for uid in [uid for uid, other in self._dialed_in.items() if other is link]:
            del self._dialed_in[uid]

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

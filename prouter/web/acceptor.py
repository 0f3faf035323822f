"""One listener: takes connections, bounds their number, runs their exchanges, ends in order. For both daemons."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from prouter.errors import StartupError
from prouter.model.traffic import Traffic
from prouter.pipe.unsent import hold_little_below
from prouter.pluginkit.descriptors import descriptors
from prouter.pluginkit.seldom import SeldomLog
from prouter.web.again import Alike
from prouter.web.connection import ClientConnection, Connected
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Dispatcher
from prouter.web.tunnel import Tunnel

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that the kernel holds until we take them; nginx takes 511."""
AT_ONCE = 4
"""Connections that asyncio's own loop takes in one turn, before any is looked at: they may not use up descriptors that
are kept back for others."""
LOOK_SECONDS = 0.25
"""How often it is looked whose deadline has passed: a timer for each connection costs a kilobyte, and time for each
request; none of these deadlines is so exact."""


class Acceptor:
    """A ConnectionHome. `name` is for the log."""

    def __init__(self, name: str, dispatcher: Dispatcher, limits: WebLimits, traffic: Traffic | None = None) -> None:
        self.name = name
        self.dispatcher = dispatcher
        self.limits = limits
        self.traffic = traffic or Traffic()
        self.alike = Alike(limits.alike, limits.head)
        self.draining = False
        self._server: asyncio.Server | None = None
        self._connections: set[Connected] = set()
        self._turned_away: dict[Connected, None] = {}
        """Not admitted, and told so just now; oldest first."""
        self._refusals = SeldomLog(log)
        self._exchanges: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._next_look: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Where it listens now; port 0 takes any free one. Raises StartupError naming the address."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: ClientConnection(self), host, port, backlog=AT_ONCE)
        except (OSError, OverflowError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise StartupError(f"can not listen on {host}:{port} ({self.name}): {why}") from None
        for listener in self._server.sockets:
            hold_little_below(listener)
            with listener.dup() as own:  # the backlog is also how many asyncio takes at once, and that only
                own.listen(BACKLOG)
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def drain(self, deadline_seconds: float) -> None:
        """Stop listening; idle connections close, busy ones after their answer; what is left then is cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in [*self._connections, *self._turned_away]:
            connection.drain()
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%s: %d connections are cut at the deadline", self.name, len(self._connections))
        for connection in [*self._connections, *self._turned_away]:
            connection.abort()
        exchanges = set(self._exchanges)
        for task in exchanges:
            task.cancel()
        if exchanges:
            await asyncio.wait(exchanges, timeout=deadline_seconds)

    # --- the connections tell (ConnectionHome) ---

    def admit(self, connection: ClientConnection, descriptor: int) -> bool:
        there = len(self._connections)
        if there >= self.limits.connections:
            self._refusals.warn("%s: a connection is refused, there are %d", self.name, there)
            return False
        if descriptor >= self.limits.descriptors_for_connections(descriptors()):
            self._refusals.warn(
                "%s: a connection is refused, there are %d and no more descriptors for them", self.name, there
            )
            return False
        self._connections.add(connection)
        self.traffic.connections = len(self._connections)
        self.traffic.connections_ever += 1
        self._watch()
        return True

    def turn_away(self, connection: ClientConnection) -> None:
        self._turned_away[connection] = None
        self._watch()
        if len(self._turned_away) > self.limits.turned_away:
            oldest = next(iter(self._turned_away))
            del self._turned_away[oldest]
            oldest.hang_up()  # it had the most time to read its answer

    def go_on(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        return task

    def replaced(self, connection: ClientConnection, tunnel: Tunnel) -> None:
        self._connections.discard(connection)
        self._connections.add(tunnel)

    def lost(self, connection: Connected) -> None:
        self._connections.discard(connection)
        self._turned_away.pop(connection, None)
        self.traffic.connections = len(self._connections)
        if not self._connections and not self._turned_away:
            self._empty.set()

    # --- deadlines ---

    def _watch(self) -> None:
        """There are connections."""
        self._empty.clear()
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Whose deadline has passed is told; again and again while there are connections."""
        there = [*self._connections, *self._turned_away]
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(LOOK_SECONDS, self._look) if there else None
        now = loop.time()
        for connection in there:
            if connection.late_at <= now:
                connection.overdue()

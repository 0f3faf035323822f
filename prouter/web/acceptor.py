"""One listener: takes connections, bounds their number, runs their exchanges, ends in order. For both daemons."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine, Sequence
from contextvars import Context
from typing import Any

from prouter.errors import StartupError
from prouter.model.traffic import Traffic
from prouter.pipe.unsent import hold_little_below
from prouter.pluginkit.descriptors import descriptors
from prouter.pluginkit.seldom import SeldomLog
from prouter.web.again import Alike
from prouter.web.connection import ClientConnection
from prouter.web.home import Connected
from prouter.web.leaving import Leaving, at_most_waiting, has_waiting
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
QUEUE_SECONDS = 0.005
"""Between two looks into the kernel's queue, once we want to end."""
TURNS = 4
"""Of the loop, until the last that was taken is known to us, and what it sent has been read."""
LAST_SECONDS = 0.5
"""At the very end: for clients to take their last answer, and again for work that was cancelled."""


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
        self._leaving: Leaving | None = None
        self._taken = 0
        """Connections that the kernel gave us, ever."""
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

    def wind_down(self) -> None:
        """All goes on, but each connection closes behind its next answer: the end is near."""
        self.draining = True

    async def all_taken(self, seconds: float) -> None:
        """Until nobody is left whom only the kernel knows, for so long at most: who came in time is not refused because
        we were busy."""
        loop = asyncio.get_running_loop()
        enough = self._taken + sum(map(at_most_waiting, self._listeners()))
        until, turns = loop.time() + seconds, 0
        while turns < TURNS and loop.time() < until:
            await asyncio.sleep(QUEUE_SECONDS)
            left = self._taken < enough and any(map(has_waiting, self._listeners()))
            turns = 0 if left else turns + 1

    def _listeners(self) -> Sequence[socket.socket]:
        return self._server.sockets if self._server is not None else ()

    async def drain(self, deadline_seconds: float, *, tunnel_seconds: float = 0.0, in_sight: bool = False) -> None:
        """What was begun goes on to its end, or until the deadline, where it is cut; tunnels for `tunnel_seconds`.

        `in_sight`: who comes meanwhile is answered as the dispatcher will, and nobody waits for that; otherwise nothing
        listens any more, and who is idle is closed. At the end that is so in any case.
        """
        self.wind_down()
        if not in_sight:
            await self._shut()
        leaving = self._leaving = Leaving(each for each in self._there() if each.drain())
        if not await leaving.all_over(deadline_seconds, min(tunnel_seconds, deadline_seconds)):
            log.warning("%s: %d connections are cut at the deadline", self.name, len(leaving.begun))
            for connection in leaving.begun:
                connection.abort()
        await self._shut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._empty.wait()
        for connection in self._there():
            connection.abort()
        exchanges = set(self._exchanges)
        for task in exchanges:
            task.cancel()
        if exchanges:
            await asyncio.wait(exchanges, timeout=LAST_SECONDS)

    def _there(self) -> list[Connected]:
        return [*self._connections, *self._turned_away]

    async def _shut(self) -> None:
        """Nobody comes any more, and who has nothing to get goes."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners():
            with contextlib.suppress(NotImplementedError):  # Windows' loop has no readers
                loop.remove_reader(listener)
        try:
            for _ in range(TURNS):  # whom asyncio took just before it tells us of later, or never once that is closed
                await asyncio.sleep(0)
        finally:
            if self._server is not None:
                self._server.close()
        for connection in self._there():
            if not connection.drain():
                connection.hang_up()

    # --- the connections tell (ConnectionHome) ---

    def admit(self, connection: ClientConnection, descriptor: int) -> bool:
        self._taken += 1
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
        if self._leaving is not None:
            self._leaving.replaced(connection, tunnel)

    def lost(self, connection: Connected) -> None:
        if self._leaving is not None:
            self._leaving.lost(connection)
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
        there = self._there()
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(LOOK_SECONDS, self._look) if there else None
        now = loop.time()
        for connection in there:
            if connection.late_at <= now:
                connection.overdue()

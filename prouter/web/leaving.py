"""For whom an endpoint that ends still waits: what was begun, until it is over or had its time.

Belongs here: which connections these are, and whom only the kernel knows. Does not: what becomes of new ones
(acceptor.py, and the dispatcher).
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Iterable

from prouter.web.home import Connected

_UNACKED_AT = 24
"""In the kernel's tcp_info; of a listener it is how many connections wait to be accepted."""
_UNKNOWN = 1_000_000


class Leaving:
    """The connections that were busy when the endpoint began to end."""

    def __init__(self, begun: Iterable[Connected]) -> None:
        self.begun = set(begun)
        self._over = asyncio.Event()
        self._tunnels_go = False
        self._look()

    async def all_over(self, seconds: float, tunnel_seconds: float) -> bool:
        """Whether all of them ended in that time; tunnels are told to go, and not waited for."""
        timer = asyncio.get_running_loop().call_later(tunnel_seconds, self._end_tunnels)
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            self._end_tunnels()
        finally:
            timer.cancel()
        return not self.begun

    def replaced(self, connection: Connected, tunnel: Connected) -> None:
        """By a tunnel."""
        if connection not in self.begun:
            return
        self.begun.remove(connection)
        self.begun.add(tunnel)
        if self._tunnels_go:
            self._end_tunnels()

    def lost(self, connection: Connected) -> None:
        self.begun.discard(connection)
        self._look()

    def _end_tunnels(self) -> None:
        self._tunnels_go = True
        self.begun -= {connection for connection in list(self.begun) if connection.go_away()}
        self._look()

    def _look(self) -> None:
        if not self.begun:
            self._over.set()


def has_waiting(listener: socket.socket) -> bool:
    """Whether there are connections that nobody accepted yet."""
    if listener.fileno() < 0 or not hasattr(select, "poll"):  # Windows has none
        return False
    look = select.poll()
    look.register(listener.fileno(), select.POLLIN)
    return bool(look.poll(0))


def at_most_waiting(listener: socket.socket) -> int:
    """How many there are at most: exactly on Linux."""
    if not hasattr(socket, "TCP_INFO"):
        return _UNKNOWN
    try:
        told = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED_AT + 4)
    except OSError:
        return _UNKNOWN
    return int(struct.unpack_from("=I", told, _UNACKED_AT)[0])

"""What of a stream waits with us when the peer does not read: how much, in our memory and in the kernel below, and for
how long once there is nothing more to come.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable
from typing import Any

UNSENT_BYTES = 4096
"""In our memory: more than this, and no more is read for the connection. Little, since what is read comes in pieces of
up to 256 KiB and is written whole: with asyncio's own 64 KiB a stalled stream kept 320 KiB in each daemon. What keeps a
connection busy is the kernel's buffer below, not this."""
UNSENT_BELOW_BYTES = 128 * 1024
"""In the kernel, not counting what is on its way to the peer, which bandwidth and distance need. By itself it takes
4 MiB of each stalled stream, and all connections of a machine suffer once a few hundred of them use up its memory."""


def hold_little(transport: asyncio.WriteTransport) -> None:
    transport.set_write_buffer_limits(UNSENT_BYTES)


def hold_little_below(connection: Any) -> None:
    """A TCP connection's socket; or a listener's, for all that it accepts. Others stay as they are."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BELOW_BYTES)


class Untaken:
    """What is left for peers to take of what was written. Who takes nothing is cut, who is slow has what it takes.

    Asked from time to time, by whoever has a clock for that.
    """

    __slots__ = ("_before", "_transports")

    def __init__(self, *transports: asyncio.WriteTransport) -> None:
        self._transports = transports
        self._before = math.inf

    @property
    def bytes_left(self) -> int:
        return sum(transport.get_write_buffer_size() for transport in self._transports)

    def is_stuck(self) -> bool:
        """Whether nothing was taken since this was asked before; not so the first time."""
        before, self._before = self._before, self.bytes_left
        return self._before >= before


def cut_untaken(cut: Callable[[], object], seconds: float, *transports: asyncio.WriteTransport) -> Callable[[], None]:
    """Behind a close: call `cut` as soon as nothing was taken for so long. What is returned calls it off."""
    untaken, loop = Untaken(*transports), asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if untaken.is_stuck():
            cut()
        elif untaken.bytes_left:
            timer = loop.call_later(seconds, look)

    def call_off() -> None:
        if timer is not None:
            timer.cancel()

    look()
    return call_off

"""What the agent does for all bytes of requests and answers: a piece from one side is written to the other at once.

On the short way of a request (web/short.py, pipe/short.py) this is all that it does.

Contract: pieces are written as they came, in their order, and each is counted (as activity of the job) before it is
written; nothing is kept here. What the other side does not take yet is in its transport, which tells when that is too
much (`hold_little`, unsent.py): then no more is read. Who got a large piece reads the next one in the next turn of the
loop. How a connection comes to its end, by FIN, reset or deadline, is for the pair (pair.py), which is told of a piece
only while a deadline runs that this puts off.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

from prouter.model.activity import Flow
from prouter.pipe.turns import LARGE_BYTES
from prouter.pipe.unsent import hold_little


class Joined(Protocol):
    """What two ends tell of."""

    timed: bool
    """Whether a deadline runs that a byte renews."""

    def moved(self) -> None:
        """A byte came."""

    def held(self, end: End) -> None:
        """Nothing is read from this one now."""

    def ended(self, end: End) -> None:
        """FIN came from this one."""

    def lost(self, end: End, exc: Exception | None) -> None:
        """The connection of this one is gone."""


class End(asyncio.Protocol):
    """One side of a pair: a transport and what comes from it."""

    __slots__ = ("eof", "flow", "full", "name", "other", "pair", "transport")

    transport: asyncio.Transport
    other: End
    pair: Joined

    def __init__(self, name: str, flow: Flow) -> None:
        self.name = name
        self.flow = flow
        self.eof = False
        self.full = False
        """It takes no more just now."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        hold_little(self.transport)

    def data_received(self, data: bytes) -> None:
        flow = self.flow  # counted here and not by its method: this is all that an agent does for most bytes
        flow.count += len(data)
        flow.last_at = time.time()
        if self.pair.timed:
            self.pair.moved()
        self.other.transport.write(data)
        if len(data) >= LARGE_BYTES and not self.transport.is_closing():
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if not (self.other.full or self.transport.is_closing()):  # else its `resume_writing` is to come
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.eof = True
        self.pair.ended(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.pair.lost(self, exc)

    def pause_writing(self) -> None:
        self.full = True
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()
            self.pair.held(self.other)  # from now on nothing tells that it is gone

    def resume_writing(self) -> None:
        self.full = False
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

"""Unbound pipes of one pool, kept warm so that nobody waits for one to be dialed, and how many there should be.

What is always true: one that speaks or closes before it is bound is none of them any more; whoever counts pipes is told
of each that closed here. Does not belong here: who gets them, and who opens them (pool.py).

How many there should be follows use: twice as many when one was wanted and none was there, up to `most`; and fewer by
as many as nobody took within some time, down to `least`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from prouter.errors import RemoteProtocolError
from prouter.pipe.bind import parse_verdict
from prouter.pipe.shelf import Opened

log = logging.getLogger(__name__)


class WarmPipes:
    """`gone` is called for each that closes, whether by itself or by us."""

    def __init__(self, least: int, most: int, gone: Callable[[], None]) -> None:
        self._least = least
        self._most = most
        self._gone = gone
        self._held: dict[_Held, None] = {}
        self.target = least
        """How many there should be."""
        self._spare = 0
        """The fewest that there were since `_spare_since`: nobody needed these."""
        self._spare_since = 0.0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def grown(self) -> bool:
        """Whether there should be more than always."""
        return self.target > self._least

    def take(self) -> Opened | None:
        """The oldest, reading paused; None: there is none."""
        if not self._held:
            return None
        held = next(iter(self._held))
        self._remove(held)
        return held.hand_over()

    def grow(self) -> None:
        """One was wanted, and none was there."""
        self.target = max(self.target, min(2 * self.target or 1, self._most))

    def keep(self, opened: Opened) -> bool:
        """Whether it is one of them now: there are not enough."""
        if len(self._held) >= self.target:
            return False
        self._held[_Held(self, *opened)] = None
        return True

    def drop(self) -> bool:
        """Close the oldest; whether there was one."""
        if not self._held:
            return False
        held = next(iter(self._held))
        del self._held[held]
        self._gone()
        held.transport.abort()
        return True

    def shrink(self, begun_by: float) -> float | None:
        """Close what nobody took since `begun_by` (time.monotonic). In how many seconds it is to be asked again; None:
        not before there should be more of them."""
        if self._spare_since <= begun_by:
            self.target = max(self._least, self.target - self._spare)
            while len(self._held) > self.target:
                self.drop()
            self.count_spare()
        return self._spare_since - begun_by if self.grown else None

    def count_spare(self) -> None:
        """From now on it is counted how many nobody needs."""
        self._spare, self._spare_since = len(self._held), time.monotonic()

    def lost(self, held: _Held) -> None:
        """It closed by itself."""
        if held in self._held:
            self._remove(held)
            self._gone()

    def _remove(self, held: _Held) -> None:
        del self._held[held]
        self._spare = min(self._spare, len(self._held))


class _Held(asyncio.Protocol):
    """Holds an unbound pipe and watches that it stays open and silent."""

    def __init__(self, home: WarmPipes, transport: asyncio.Transport, leftover: bytes) -> None:
        self.transport = transport
        self._home = home
        transport.set_protocol(self)
        if not transport.is_reading():
            transport.resume_reading()
        if leftover:
            self.data_received(leftover)

    def hand_over(self) -> Opened:
        self.transport.pause_reading()
        return self.transport, b""

    def data_received(self, data: bytes) -> None:
        try:
            refused = parse_verdict(data.partition(b"\n")[0])
        except RemoteProtocolError:
            refused = None
        if refused is not None:  # it has as many as it may have, which whoever needs one is told
            log.debug("an agent takes no more pipes: %s", refused.text)
        else:
            log.warning("an agent spoke on a pipe that was not bound yet; closing it")
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._home.lost(self)

"""How a client's connection ends: behind its last answer, behind what it did not take, at a deadline.

Belongs here: deadlines as such, lingering, closing. Does not: which deadlines there are (connection.py,
whose base this is).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial

from prouter.pipe.reset import half_close
from prouter.pipe.unsent import Untaken
from prouter.web.limits import WebLimits


class Parting:
    """The part of a connection that has to do with its end."""

    _buffer: bytearray
    _limits: WebLimits
    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport
    _lingering = 0
    """Bytes dropped so far, plus one; 0 while not lingering."""
    late_at = math.inf
    """When `overdue` is called; the acceptor looks."""
    _late: Callable[[], None] | None = None
    """What is done then."""

    def go_away(self) -> bool:
        return False

    def hang_up(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _arm(self, seconds: float, late: Callable[[], None]) -> None:
        """In so many seconds, in place of what was armed before."""
        self._late, self.late_at = late, self._loop.time() + seconds

    def overdue(self) -> None:
        late = self._late
        self._disarm()
        if late is not None:
            late()

    def _disarm(self) -> None:
        self._late, self.late_at = None, math.inf

    def _linger(self, *, more_may_come: bool) -> None:
        """Close behind our last answer. What still comes is dropped for a while: a reset would eat the answer."""
        self._lingering = 1
        self._buffer.clear()
        if not more_may_come or not self._transport.can_write_eof():
            self._close()
            return
        half_close(self._transport)
        self._arm(self._limits.linger_seconds, self._close)

    def _close(self) -> None:
        """Once the client has taken what is written; one that takes nothing for so long is cut."""
        self._transport.close()
        self._watch_untaken(Untaken(self._transport))

    def _watch_untaken(self, untaken: Untaken) -> None:
        if untaken.is_stuck():
            self._transport.abort()
        else:
            self._arm(self._limits.idle_seconds, partial(self._watch_untaken, untaken))

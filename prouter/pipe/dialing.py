"""Dialing pipes to one place, for as long as one link: over plain TCP, or as websockets where nothing else passes.

What stands between us and the peer may know no upgrade but websocket: it drops the header, refuses the request, or
hangs up. Belongs here: finding out, and remembering what worked. Does not: what is sent (opening.py).
"""

from __future__ import annotations

import asyncio
import logging

from prouter.errors import RemoteProtocolError
from prouter.pipe.opening import open_pipe, open_websocket_pipe

log = logging.getLogger(__name__)

TRY_SECONDS = 3.0
"""For an answer while it is not known what passes: there must be time left for the other way with the same ticket."""
AGAIN_SECONDS = 60.0
"""After a silence, which a peer that was only slow at the beginning causes as well, TCP is tried once more. So it
is where nothing but tickets that were refused both ways speak against it, and then after twice as long each time."""
REFUSED_BEFORE_DOUBT = 3
"""Refusals in a row (tickets can be late) after which what worked before is not known to work any more."""


class PipeDialer:
    """Opens pipes to HOST:PORT with one ticket each."""

    def __init__(
        self, host: str, port: int, *, try_seconds: float = TRY_SECONDS, again_seconds: float = AGAIN_SECONDS
    ) -> None:
        self._host = host
        self._port = port
        self._try_seconds = try_seconds
        self._again_seconds = again_seconds
        self._again_at: float | None = None
        """When TCP is tried once more, and whether it ever is."""
        self._silences = 0
        self._websockets = False
        """What is tried first."""
        self._known = False
        """It worked."""
        self._refused = 0
        self._finding_out = asyncio.Lock()

    async def open(self, ticket: str) -> tuple[asyncio.Transport, bytes]:
        """As opening.open_pipe; raises what it raises. Of many at once, the first alone finds out what passes."""
        now = asyncio.get_running_loop().time()
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._known = self._websockets = False
        if not self._known:
            async with self._finding_out:
                if not self._known:
                    return await self._find_out(ticket)
        try:
            opened = await self._open(ticket, websocket=self._websockets)
        except RemoteProtocolError:
            self._refused += 1
            if self._refused >= REFUSED_BEFORE_DOUBT:
                self._known = False
            raise
        self._refused = 0
        return opened

    async def _find_out(self, ticket: str) -> tuple[asyncio.Transport, bytes]:
        first = self._websockets
        try:
            opened = await self._open(ticket, websocket=first, seconds=self._try_seconds)
        except RemoteProtocolError as error:
            # Refused both ways, the ticket may have been used up the first time, behind an answer that got lost: the
            # next one is tried the other way first.
            self._websockets = not first
            if not first and isinstance(error.__cause__, TimeoutError):
                self._silences += 1
                if self._silences == 1:
                    self._again_at = asyncio.get_running_loop().time() + self._again_seconds
            opened = await self._open(ticket, websocket=not first, seconds=self._try_seconds)
            log.info(
                "pipes to %s:%s are %s: %s",
                self._host,
                self._port,
                "TCP again" if first else "websockets",
                error.detail,
            )
        else:
            if first:  # TCP was refused with another ticket, whose fault it may have been: this proves nothing
                self._again_at = asyncio.get_running_loop().time() + self._again_seconds
                self._again_seconds *= 2
        self._known, self._refused = True, 0
        return opened

    async def _open(
        self, ticket: str, *, websocket: bool, seconds: float | None = None
    ) -> tuple[asyncio.Transport, bytes]:
        how = open_websocket_pipe if websocket else open_pipe
        if seconds is None:
            return await how(self._host, self._port, ticket)
        return await how(self._host, self._port, ticket, deadline_seconds=seconds)

"""Why reading from a connection is paused: a set of reasons, since one flag with two reasons loses bytes."""

from __future__ import annotations

import asyncio


class Pauses:
    """Pauses a transport's reading while there is any reason to."""

    def __init__(self, transport: asyncio.ReadTransport) -> None:
        self._transport = transport
        self._reasons: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def add(self, reason: str) -> None:
        if not self._reasons and not self._transport.is_closing():
            self._transport.pause_reading()
        self._reasons.add(reason)

    def remove(self, reason: str) -> None:
        if reason not in self._reasons:
            return
        self._reasons.discard(reason)
        if not self._reasons and not self._transport.is_closing():
            self._transport.resume_reading()

    def clear(self) -> None:
        for reason in tuple(self._reasons):
            self.remove(reason)

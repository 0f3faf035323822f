"""Why reading from a connection is paused: reasons, since one flag with two reasons loses bytes."""

from __future__ import annotations

import asyncio


class Pauses:
    """Pauses a transport's reading while there is any reason to."""

    def __init__(self, transport: asyncio.ReadTransport) -> None:
        self._transport = transport
        self._reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def __contains__(self, reason: str) -> bool:
        return reason in self._reasons

    def add(self, reason: str) -> None:
        if not self._reasons and not self._transport.is_closing():
            self._transport.pause_reading()
        if reason not in self._reasons:
            self._reasons += (reason,)

    def remove(self, reason: str) -> None:
        if reason not in self._reasons:
            return
        self._reasons = tuple(other for other in self._reasons if other != reason)
        if not self._reasons and not self._transport.is_closing():
            self._transport.resume_reading()

    def clear(self) -> None:
        for reason in self._reasons:
            self.remove(reason)

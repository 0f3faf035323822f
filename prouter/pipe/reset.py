"""Ending a TCP connection so that the peer sees a cut: a reset instead of a clean end.

asyncio's `abort()` drops what is unsent and closes, which the kernel turns into FIN when all was read; with SO_LINGER
(1, 0) it is RST.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_LINGER = struct.pack("ii", 1, 0)


def reset(transport: asyncio.WriteTransport) -> None:
    """Cut; what was not sent yet is lost. A transport without a socket (a stand-in) is aborted."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError, ValueError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()

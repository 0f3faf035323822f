"""Ending a TCP connection: half of it (FIN), or so that the peer sees a cut, a reset instead of a clean end.

asyncio's `abort()` drops what is unsent and closes, which the kernel turns into FIN when all was read; with SO_LINGER
(1, 0) it is RST.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_LINGER = struct.pack("ii", 1, 0)
_ORDINARY = struct.pack("ii", 0, 0)


def reset(transport: asyncio.WriteTransport) -> None:
    """Cut; what was not sent yet is lost. A transport without a socket (a stand-in) is aborted."""
    cut_at_close(transport)
    transport.abort()


def cut_at_close(transport: asyncio.WriteTransport) -> None:
    """From now on closing is a cut, also when it is the kernel that closes because this process was killed."""
    _set_linger(transport, _LINGER)


def end_at_close(transport: asyncio.WriteTransport) -> None:
    """Closing is a clean end again."""
    _set_linger(transport, _ORDINARY)


def _set_linger(transport: asyncio.WriteTransport, value: bytes) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError, ValueError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


def was_reset(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer's reset has come, which the loop does not tell while reading is paused. Asking forgets it."""
    raw = transport.get_extra_info("socket")
    if raw is None:
        return False
    try:
        return bool(raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except (OSError, ValueError):  # closed by now
        return False


def half_close(transport: asyncio.WriteTransport) -> None:
    """FIN behind what was written; nothing when that way is closed already. A peer that is gone by now is no error."""
    if not transport.can_write_eof() or transport.is_closing():
        return
    try:
        transport.write_eof()
    except OSError:  # ENOTCONN: its reset came, and the loop has not told us yet
        transport.abort()

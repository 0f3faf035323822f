"""Noticing a peer that vanished without a word: its machine lost power, or the line was cut.

Belongs here: what the kernel is told to do about it, and what it knows. Does not: what becomes of pipes then
(outlived.py, and whoever has a pipe when its connection is lost).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys

PROBES = 3
"""Without an answer, and the connection is lost."""
UNANSWERED = 2
"""Probes, or sendings of the same bytes: one may be lost on its way."""
UNREACHABLE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""How a connection ends whose peer acknowledges nothing any more."""
_INFO = struct.Struct("=2xBB52xI")
"""Of struct tcp_info (linux/tcp.h): tcpi_retransmits, tcpi_probes, tcpi_last_ack_recv (milliseconds)."""


def probe_peer(transport: asyncio.BaseTransport, silent_seconds: float) -> None:
    """Let the kernel ask from time to time (RFC 1122 4.2.3.6), so that a peer that acknowledges nothing is known to be
    gone by about then: an answer that may be silent has no deadline, and the kernel's own is two hours."""
    raw = _socket(transport)
    if raw is None:
        return
    pause = max(1, round(0.15 * silent_seconds))
    options = {"TCP_KEEPIDLE": max(1, round(0.55 * silent_seconds)), "TCP_KEEPINTVL": pause, "TCP_KEEPCNT": PROBES}
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_deaf(transport: asyncio.BaseTransport, silent_seconds: float) -> bool:
    """Whether the kernel has sent something again and again, and for so long nothing was acknowledged (Linux; False
    where that is not known).

    Of bytes that nobody acknowledges it tells by itself after a quarter of an hour, and it sends no probes meanwhile.
    TCP_USER_TIMEOUT would also end a connection whose peer lives and does not read (tcp(7)), which it may do for long.
    """
    raw = _socket(transport)
    if raw is None or sys.platform != "linux":
        return False
    try:
        sent_again, probes, heard_ms = _INFO.unpack(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    except (OSError, struct.error):  # closed by now
        return False
    return bool(heard_ms >= 1000 * silent_seconds and max(sent_again, probes) >= UNANSWERED)


def _socket(transport: asyncio.BaseTransport) -> socket.socket | None:
    raw: socket.socket | None = transport.get_extra_info("socket")
    return raw if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6) else None

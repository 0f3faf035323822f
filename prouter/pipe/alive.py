"""Noticing a peer that vanished without a word: its machine lost power, or the line was cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket

PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence, seconds between two probes, probes: half a minute, as the kernel's own two hours are too long."""


def probe_peer(transport: asyncio.BaseTransport) -> None:
    """Let the kernel ask from time to time (RFC 1122 4.2.3.6): an answer that may be silent has no deadline."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in PROBES.items():
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

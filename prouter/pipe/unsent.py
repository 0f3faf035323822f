"""How much of a stream waits with us when the peer does not read: in our memory, and in the kernel below."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

UNSENT_BYTES = 4096
"""In our memory: more than this, and no more is read for the connection. Little, since what is read comes in pieces of
up to 256 KiB and is written whole: with asyncio's own 64 KiB a stalled stream kept 320 KiB in each daemon. What keeps a
connection busy is the kernel's buffer below, not this."""
UNSENT_BELOW_BYTES = 128 * 1024
"""In the kernel, not counting what is on its way to the peer, which bandwidth and distance need. By itself it takes
4 MiB of each stalled stream, and all connections of a machine suffer once a few hundred of them use up its memory."""


def hold_little(transport: asyncio.WriteTransport) -> None:
    transport.set_write_buffer_limits(UNSENT_BYTES)


def hold_little_below(connection: Any) -> None:
    """A TCP connection's socket; or a listener's, for all that it accepts. Others stay as they are."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BELOW_BYTES)

"""How much of a stream waits in our memory when the peer does not read."""

from __future__ import annotations

import asyncio

UNSENT_BYTES = 4096
"""More than this, and no more is read for the connection. Little, since what is read comes in pieces of up to 256 KiB
and is written whole: with asyncio's own 64 KiB a stalled stream kept 320 KiB in each daemon. What keeps a connection
busy is the kernel's buffer below, not this."""


def hold_little(transport: asyncio.WriteTransport) -> None:
    transport.set_write_buffer_limits(UNSENT_BYTES)

"""Bounds of an acceptor and its connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from prouter.http1.request import HeadLimits

LINKS_KEEP_BACK = 0.05
"""`kept_back` of an endpoint for control links and pipes: it goes on where there is nothing left for clients."""
MOST_KEPT_BACK = 4096
"""Descriptors, however many there are."""


@dataclass(frozen=True, slots=True)
class WebLimits:
    head: HeadLimits = field(default_factory=HeadLimits)
    connections: int = 10_000
    """At the same time; one more is told 503 and closed."""
    kept_back: float = 0.25
    """Of the process's descriptors, what connections leave to others: pipes, control links, files."""
    turned_away: int = 16
    """That many at a time are waited for to read that they are too many; then the oldest is closed."""
    head_seconds: float = 10.0
    """From a connection's or request's first byte to the end of its head (nginx: 60, HAProxy's guide: 5)."""
    idle_seconds: float = 75.0
    """Between requests; nginx's `keepalive_timeout`."""
    alike: int = 1024
    """Kinds of proxied requests of which is remembered what was decided (again.py), each some KiB."""
    body_seconds: float = 60.0
    """Over each of which a body must bring `body_rate`."""
    body_rate: float = 240.0
    """Bytes a second of a request's body, until the answer begins (Kestrel's `MinRequestBodyDataRate`); 0: any."""
    relay_idle_seconds: float = 600.0
    """For which a relayed request may carry nothing either way, and any client may read nothing of its answer."""
    held_bytes: int = 65536
    """Of a body or of pipelined requests that are read before anybody takes them."""
    linger_seconds: float = 2.0
    """For which what still comes is dropped before a connection closes, so that a reset does not eat the answer."""
    half_close_seconds: float = 60.0
    """For which a tunnel may be silent after one of its sides closed."""

    def descriptors_for_connections(self, descriptors: int) -> int:
        """How many of so many there are for them."""
        return descriptors - min(MOST_KEPT_BACK, int(descriptors * self.kept_back))


def descriptor_of(transport: asyncio.BaseTransport) -> int:
    """Its number: the lowest that was free, so that it tells how many are in use; -1 where there is none."""
    raw = transport.get_extra_info("socket")
    return raw.fileno() if raw is not None else -1

"""The limits of a link: what a peer may cost us, each with a name.

Belongs here: numbers and the reason for each. Does not: the code that keeps them (messages.py before decoding,
calls.py for queues, connection.py for calls). A router or agent makes one `Limits` from its configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one link. Over a `*_bytes` or `*_elements` limit of a message the link ends, over any other one call.

    Elements are counted before decoding: an element of one byte on the wire costs up to 73 bytes once decoded.
    """

    handshake_bytes: int = 64 * KIB
    """Largest message before the handshake, when the peer has not yet proved who it is."""
    handshake_elements: int = 4096
    control_bytes: int = 64
    """Largest cancel or close; with an id of 64 bits they have 11 bytes."""
    call_bytes: int = 4 * MIB
    """Largest call start, received or sent; what an original's websocket library takes."""
    result_bytes: int = 4 * MIB
    stream_bytes: int = 64 * MIB
    """Largest message of a stream: a websocket message of a job, passed on by an original in one piece."""
    elements: int = 65_536
    """Elements of a call, a result or a stream's value; counting and decoding so many takes some 20 ms."""
    original_bytes: int = 4 * MIB - 1
    """Largest message that we send to an original: one byte more ends its link and with it all its jobs."""

    incoming_calls: int = 4096
    """Calls of the peer that run at the same time; one more is refused with status 30."""
    stream_queue_bytes: int = 64 * MIB
    """What one stream may hold that nobody has read yet, Python's own overhead included."""
    stream_queue_items: int = 16_384
    link_queue_bytes: int = 256 * MIB
    """The same for all streams and arguments of a link together."""
    send_queue_bytes: int = 1 * MIB
    """Senders wait while more than this is waiting to be written."""
    reply_queue_bytes: int = 16 * MIB
    """Replies that nobody can wait for (refusals, cancels) may pile up to this, then the link ends: a peer that asks
    and does not read the answers."""

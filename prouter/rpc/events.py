"""What a machine tells: frozen events, in the order in which the peer's messages mean them.

Belongs here: the values. Does not: when each comes (machine.py, which makes them; connection.py reads them).
"Incoming" calls are those of the peer, "outgoing" ours; the caller's stream is that of the side that called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prouter.rpc.messages import CallType, ErrorInfo, Status


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """Accepting: the peer says who it is. Answer with `welcome`, or close the link without an answer."""

    user_data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WelcomeReceived:
    """Connecting: the peer accepted us, the link is open."""

    connection_id: str
    user_data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """Connecting: the peer answered the handshake with an error. An original closes without an answer instead."""

    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The peer calls a method of ours."""

    call_id: int
    call_type: CallType
    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    cost_bytes: int


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """The peer wants no result any more; none can be sent."""

    call_id: int


@dataclass(frozen=True, slots=True)
class CallerSent:
    """A value of the stream of an incoming call."""

    call_id: int
    data: Any
    cost_bytes: int


@dataclass(frozen=True, slots=True)
class CallerClosed:
    call_id: int


@dataclass(frozen=True, slots=True)
class CalleeSent:
    """A value of the stream of one of our calls."""

    call_id: int
    data: Any
    cost_bytes: int


@dataclass(frozen=True, slots=True)
class CalleeClosed:
    call_id: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """One of our calls is over: `value` when `status` is SUCCESS, else `error` (which a peer may leave out)."""

    call_id: int
    value: Any
    status: Status
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message came at the wrong time; the link goes on. For the log."""

    reason: str


HandshakeEvent = HelloReceived | WelcomeReceived | Refused
IncomingEvent = CallStarted | CallCancelled | CallerSent | CallerClosed
OutgoingEvent = CalleeSent | CalleeClosed | CallFinished
Event = HandshakeEvent | IncomingEvent | OutgoingEvent | Dropped

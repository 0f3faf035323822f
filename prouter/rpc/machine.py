"""One end of a link as a pure state machine: bytes in, events out; intentions in, bytes out.

Belongs here: what may come and go when. Does not: time, queues, sockets, tasks (connection.py, its only caller
besides tests). Three verbs: `receive` takes one message and returns what it means; the others return the bytes to be
sent, in the order in which they were asked for.

Invariants, after every step:

1. HANDSHAKE lets in only a Hello (accepting) or a Welcome (connecting); OPEN lets in only the other seven. What comes
   at the wrong time is dropped with a `Dropped`, as an original does. CLOSED lets in nothing.
2. An outgoing call is in `outgoing` from its Start until its Result came or we cancelled it; an incoming call is in
   `incoming` from its Start until we sent its Result or its Cancel came. Ids of the two sides are unrelated.
3. Events of one call are CallStarted, then CallerSent* and at most one CallerClosed, then at most one CallCancelled;
   or CalleeSent* and at most one CalleeClosed, then at most one CallFinished. Nothing follows the last one.
4. In each direction of a call at most one close is sent, no data after it, and nothing after the call is over:
   verbs on a call that is over return None, since messages cross on the wire.
5. A message for a call that is over, or never was, is dropped in silence.
6. The machine never closes a stream by itself: which side closes is agreed between the method and its caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from prouter.errors import LocalProtocolError, RemoteProtocolError
from prouter.rpc.events import (
    CallCancelled,
    CalleeClosed,
    CalleeSent,
    CallerClosed,
    CallerSent,
    CallFinished,
    CallStarted,
    Dropped,
    Event,
    HelloReceived,
    Refused,
    WelcomeReceived,
)
from prouter.rpc.limits import Limits
from prouter.rpc.messages import (
    HANDSHAKE_KINDS,
    UNICODE_ERRORS,
    CalleeClose,
    CalleeData,
    CallerClose,
    CallerData,
    CallType,
    Cancel,
    ErrorInfo,
    Hello,
    Message,
    Result,
    Start,
    Status,
    Welcome,
    decode,
    encode,
    kind_of,
)

MAX_ERROR_CHARACTERS = 16_384
"""Of each text of an error; a traceback of an original has about 2,000."""


class IdCounter:
    """Where the ids of our calls come from, counting up. An agent keeps one for all its links, as the original does;
    a router makes one for each link."""

    def __init__(self, first: int = 1) -> None:
        self._next = first

    def take(self) -> int:
        """The next id, never given out before."""
        self._next += 1
        return self._next - 1


class Role(Enum):
    CONNECTING = "connecting"
    ACCEPTING = "accepting"


class State(Enum):
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(slots=True)
class CallState:
    """A call that is under way, as both sides see it. `method` is for texts."""

    call_type: CallType
    method: str
    caller_closed: bool = False
    callee_closed: bool = False


class Machine:
    """One end. `outgoing` and `incoming` are the calls under way, by id; read them, never write."""

    def __init__(self, role: Role, ids: IdCounter, limits: Limits) -> None:
        self.role = role
        self.state = State.HANDSHAKE
        self.outgoing: dict[int, CallState] = {}
        self.incoming: dict[int, CallState] = {}
        self.peer: Mapping[str, Any] = {}
        self._ids = ids
        self._limits = limits
        self._hello_id: int | None = None

    @property
    def peer_is_prouter(self) -> bool:
        """Whether the peer is one of ours. An original must never be sent invalid UTF-8 or more than 4 MiB at once:
        it would end the link and remove all its jobs."""
        return "prouter" in self.peer

    # -- receiving

    def receive(self, data: bytes) -> list[Event]:
        """What one message means. Raises `RemoteProtocolError` for garbage: the link has to be closed then."""
        if self.state is State.CLOSED:
            return []
        kind = kind_of(data)
        if self.state is State.HANDSHAKE:
            if len(data) > self._limits.handshake_bytes:
                raise RemoteProtocolError(f"a message of {len(data)} bytes came before the handshake")
            if kind != (1 if self.role is Role.ACCEPTING else 6):
                return [Dropped(f"a message of type {kind} came before the handshake")]
        elif kind in HANDSHAKE_KINDS:
            return [Dropped(f"a message of type {kind} came after the handshake")]
        message, cost_bytes = decode(data, self._limits)
        event: Event | None
        match message:
            case Hello() | Welcome():
                event = self._shake(message)
            case Start() | Cancel() | CallerData() | CallerClose():
                event = self._from_caller(message, cost_bytes)
            case Result() | CalleeData() | CalleeClose():
                event = self._from_callee(message, cost_bytes)
        return [] if event is None else [event]

    def _shake(self, message: Hello | Welcome) -> Event:
        if isinstance(message, Hello):
            if self._hello_id is not None:
                return Dropped("a second handshake came before the first was answered")
            self._hello_id = message.call_id
            self.peer = message.user_data
            return HelloReceived(message.user_data)
        if message.call_id != self._hello_id:
            return Dropped("an answer came to a handshake that was not ours")
        if message.status != Status.SUCCESS:
            self.state = State.CLOSED
            return Refused(message.error)
        self.peer = message.user_data
        self.state = State.OPEN
        return WelcomeReceived(message.connection_id, message.user_data)

    def _from_caller(self, message: Start | Cancel | CallerData | CallerClose, cost_bytes: int) -> Event | None:
        call_id = message.call_id
        if isinstance(message, Start):
            if call_id in self.incoming:
                raise RemoteProtocolError(f"a second call came with the id {call_id} of one that is under way")
            self.incoming[call_id] = CallState(message.call_type, message.method)
            return CallStarted(
                call_id, message.call_type, message.method, message.args, message.kwargs, cost_bytes=cost_bytes
            )
        call = self.incoming.get(call_id)
        if call is None:
            return None
        if isinstance(message, Cancel):
            del self.incoming[call_id]
            return CallCancelled(call_id)
        if call.caller_closed or not call.call_type.caller_streams:
            return Dropped(f"the caller of {call.method!r} has no open stream")
        if isinstance(message, CallerData):
            return CallerSent(call_id, message.data, cost_bytes)
        call.caller_closed = True
        return CallerClosed(call_id)

    def _from_callee(self, message: Result | CalleeData | CalleeClose, cost_bytes: int) -> Event | None:
        call_id = message.call_id
        call = self.outgoing.get(call_id)
        if call is None:
            return None
        if isinstance(message, Result):
            del self.outgoing[call_id]
            return CallFinished(call_id, message.value, message.status, message.error)
        if call.callee_closed or not call.call_type.callee_streams:
            return Dropped(f"the callee of {call.method!r} has no open stream")
        if isinstance(message, CalleeData):
            return CalleeSent(call_id, message.data, cost_bytes)
        call.callee_closed = True
        return CalleeClosed(call_id)

    # -- the handshake

    def hello(self, user_data: Mapping[str, Any]) -> bytes:
        """Connecting, first of all: say who we are."""
        self._mine(self.role is Role.CONNECTING and self._hello_id is None, "hello")
        self._hello_id = self._ids.take()
        return encode(Hello(self._hello_id, user_data), self._limits.handshake_bytes, limits=self._limits)

    def welcome(self, connection_id: str, user_data: Mapping[str, Any]) -> bytes:
        """Accepting, after `HelloReceived`: the link is open."""
        self._mine(self.role is Role.ACCEPTING and self.state is State.HANDSHAKE, "welcome")
        if self._hello_id is None:
            raise LocalProtocolError("welcome before a handshake came")
        self.state = State.OPEN
        welcome = Welcome(self._hello_id, connection_id, user_data)
        return encode(welcome, self._limits.handshake_bytes, limits=self._limits)

    def refuse(self, error: ErrorInfo) -> bytes:
        """Accepting, instead of `welcome`: why not. Only for a peer of ours; an original is refused without a word."""
        self._mine(self.role is Role.ACCEPTING and self.state is State.HANDSHAKE and self.peer_is_prouter, "refuse")
        if self._hello_id is None:
            raise LocalProtocolError("a refusal before a handshake came")
        self.state = State.CLOSED
        refusal = Welcome(self._hello_id, "", {}, Status.METHOD_RAISED, error)
        return encode(refusal, self._limits.handshake_bytes)

    def close(self) -> None:
        """The link ended, for whatever reason: all calls are over."""
        self.state = State.CLOSED
        self.outgoing.clear()
        self.incoming.clear()

    # -- as caller

    def start_call(
        self, call_type: CallType, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[int, bytes]:
        """Call a method of the peer: the call's id, and the bytes. When encoding fails no id is used up as a call."""
        self._mine(self.state is State.OPEN, "a call")
        call_id = self._ids.take()
        data = self._encode(Start(call_id, call_type, method, args, kwargs), self._limits.call_bytes)
        self.outgoing[call_id] = CallState(call_type, method)
        return call_id, data

    def cancel_call(self, call_id: int) -> bytes | None:
        """No result is wanted any more; the call is over at once."""
        if self.outgoing.pop(call_id, None) is None:
            return None
        return self._encode(Cancel(call_id), self._limits.control_bytes)

    def send_to_callee(self, call_id: int, data: Any) -> bytes | None:
        call = self.outgoing.get(call_id)
        if call is None:
            return None
        self._mine(call.call_type.caller_streams and not call.caller_closed, "data from the caller")
        return self._encode(CallerData(call_id, data), self._limits.stream_bytes)

    def close_to_callee(self, call_id: int) -> bytes | None:
        call = self.outgoing.get(call_id)
        if call is None:
            return None
        self._mine(call.call_type.caller_streams and not call.caller_closed, "a close from the caller")
        call.caller_closed = True
        return self._encode(CallerClose(call_id), self._limits.control_bytes)

    # -- as callee

    def send_to_caller(self, call_id: int, data: Any) -> bytes | None:
        call = self.incoming.get(call_id)
        if call is None:
            return None
        self._mine(call.call_type.callee_streams and not call.callee_closed, "data from the callee")
        return self._encode(CalleeData(call_id, data), self._limits.stream_bytes)

    def close_to_caller(self, call_id: int) -> bytes | None:
        call = self.incoming.get(call_id)
        if call is None:
            return None
        self._mine(call.call_type.callee_streams and not call.callee_closed, "a close from the callee")
        call.callee_closed = True
        return self._encode(CalleeClose(call_id), self._limits.control_bytes)

    def finish_call(self, call_id: int, value: Any) -> bytes | None:
        """The call's result. When it can not be encoded the call goes on: `fail_call` it."""
        if call_id not in self.incoming:
            return None
        data = self._encode(Result(call_id, value), self._limits.result_bytes)
        del self.incoming[call_id]
        return data

    def fail_call(self, call_id: int, status: Status, error: ErrorInfo) -> bytes | None:
        if call_id not in self.incoming:
            return None
        shown = ErrorInfo(*(None if part is None else _presentable(part) for part in error))  # type: ignore[arg-type]
        data = self._encode(Result(call_id, None, status, shown), self._limits.result_bytes)
        del self.incoming[call_id]
        return data

    def _encode(self, message: Message, max_bytes: int) -> bytes:
        if self.peer_is_prouter:
            return encode(message, max_bytes, limits=self._limits, unicode_errors=UNICODE_ERRORS)
        return encode(message, min(max_bytes, self._limits.original_bytes), unicode_errors="strict")

    @staticmethod
    def _mine(allowed: bool, what: str) -> None:
        if not allowed:
            raise LocalProtocolError(f"{what} can not be sent now")


def _presentable(text: str) -> str:
    """A text of an error as it may always be sent: not too long, surrogates (a file's name) spelled out."""
    return text[:MAX_ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode()

"""The two ends of a call as code uses them: `Call` for the caller, `CallContext` for the method.

Belongs here: sending, receiving, results and errors of one call. Does not: the link and its tasks (connection.py,
which makes both and feeds them what the machine says).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prouter.errors import (
    LocalProtocolError,
    MethodNotFound,
    OriginalError,
    PeerBusy,
    ProuterError,
    RemoteError,
    from_wire,
)
from prouter.rpc.events import CallFinished
from prouter.rpc.machine import Machine
from prouter.rpc.messages import CallType, ErrorInfo, Status
from prouter.rpc.streams import Inbox, Outbox

if TYPE_CHECKING:
    from prouter.rpc.connection import Link


def error_of(method: str, event: CallFinished) -> ProuterError:
    """The error for a result that is none. Its text is the peer's; the traceback stays out of it."""
    error = event.error or ErrorInfo(f"{method!r} failed without a reason")
    detail = error.message if error.cause_message is None else error.cause_message
    if event.status is Status.NO_METHOD:
        return MethodNotFound(f"the peer has no method {method!r}")
    if event.status is Status.SERVER_ERROR:
        return PeerBusy(detail, cause=error.cause or "", headers={"Retry-After": "1"})
    if event.status is Status.METHOD_RAISED and error.cause is not None:
        return from_wire(error.cause, detail)
    return RemoteError(detail, cause=error.cause or "")


def error_info(call_id: int, method: str, error: ProuterError) -> ErrorInfo:
    """An error of ours as originals write theirs: always four texts. The last is but a traceback's last line: no
    traceback leaves the house."""
    cause, ours = error.wire_name(), error.detail
    if isinstance(error, OriginalError):
        cause, ours = error.cause, error.ours
    return ErrorInfo(f"call {call_id} ({method!r}) failed: {error.detail}", cause, error.detail, f"{cause}: {ours}")


class Call:
    """A call of ours. Entering the context sends it, leaving it before the result came cancels it."""

    def __init__(
        self,
        machine: Machine,
        outbox: Outbox,
        inbox: Inbox,
        register: Callable[[int, Call | None], None],
        start: tuple[CallType, str, Sequence[Any], Mapping[str, Any]],
    ) -> None:
        self._machine = machine
        self._outbox = outbox
        self._inbox = inbox
        self._register = register
        self._start = start
        self._id: int | None = None
        self._over = asyncio.Event()
        self._value: Any = None
        self._error: ProuterError | None = None

    @property
    def method(self) -> str:
        return self._start[1]

    @property
    def id(self) -> int:
        """The call's id on the wire; known inside the context."""
        if self._id is None:
            raise LocalProtocolError("the call has not been started")
        return self._id

    @property
    def finished(self) -> bool:
        """Whether its result or error came; what is sent from now on goes nowhere."""
        return self._over.is_set()

    async def __aenter__(self) -> Self:
        await self._outbox.room()
        self._id, message = self._machine.start_call(*self._start)
        self._register(self._id, self)
        self._outbox.put(message)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cancel()

    def _cancel(self) -> None:
        message = self._machine.cancel_call(self.id)
        if message is not None:
            self._outbox.put(message)
        self._register(self.id, None)
        self._inbox.discard()

    async def send(self, value: Any) -> None:
        """Send a value of our stream, anything but None; waits while too much is waiting to be written.

        Raises the call's error when it has failed, `LinkClosed`, and what `messages.encode` raises. After a result
        the value goes nowhere, in silence.
        """
        await self._outbox.room()
        self._put(self._machine.send_to_callee(self.id, value))

    async def close_send(self) -> None:
        """Our stream is complete. Raises as `send`."""
        await self._outbox.room()
        self._put(self._machine.close_to_callee(self.id))

    def _put(self, message: bytes | None) -> None:
        if message is not None:
            self._outbox.put(message)
        elif self._error is not None:
            raise self._error

    async def receive(self) -> Any:
        """The next value of the callee's stream, None when it has ended. Raises the call's error, after the values
        that came before it."""
        return await self._inbox.receive()

    def waiting(self) -> list[Any]:
        """What came of the callee's stream and was not received yet, without waiting for more."""
        return self._inbox.waiting()

    async def values(self) -> AsyncGenerator[Any, None]:
        """The callee's stream until its end. Raises as `receive`."""
        while (value := await self._inbox.receive()) is not None:
            yield value

    async def result(self) -> Any:
        """The call's result. Raises its error: as named in the tree (`errors.from_wire`), `MethodNotFound`,
        `RemoteError`, or `LinkClosed`. Does not read the stream: one that nobody reads fails when it is full."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._value

    # What the link tells.

    def take(self, value: Any, cost_bytes: int) -> None:
        if not self._inbox.put(value, cost_bytes):
            self.fail(RemoteError(f"nobody read the stream of {self.method!r} fast enough", cause="StreamOverflow"))
            self._cancel()

    def callee_closed(self) -> None:
        self._inbox.end()

    def finish(self, event: CallFinished) -> None:
        if event.status is Status.SUCCESS:
            self._value = event.value
            self._inbox.end()
            self._over.set()
        else:
            self.fail(error_of(self.method, event))

    def fail(self, error: ProuterError) -> None:
        if not self._over.is_set():
            self._error = error
            self._inbox.end(error)
            self._over.set()


class CallContext:
    """An incoming call, as its method sees it. When the caller cancels, or the link ends, the method is cancelled."""

    def __init__(self, link: Link, call_id: int, method: str, machine: Machine, outbox: Outbox, inbox: Inbox) -> None:
        self.link = link
        self.call_id = call_id
        self.method = method
        self.inbox = inbox
        self.task: asyncio.Task[None] | None = None
        """Runs the method; set by serving.py."""
        self.over = False
        """Cancelled or answered: nothing more may be sent, also when the id came again."""
        self._machine = machine
        self._outbox = outbox

    async def send(self, value: Any) -> None:
        """Send a value of our stream, anything but None; waits while too much is waiting to be written."""
        await self._outbox.room()
        self._put(None if self.over else self._machine.send_to_caller(self.call_id, value))

    async def close_send(self) -> None:
        """Our stream is complete; the result, which ends the call, is what the method returns."""
        await self._outbox.room()
        self._put(None if self.over else self._machine.close_to_caller(self.call_id))

    def _put(self, message: bytes | None) -> None:
        if message is not None:
            self._outbox.put(message)

    async def receive(self) -> Any:
        """The next value of the caller's stream, None when it has ended."""
        return await self.inbox.receive()

    async def values(self) -> AsyncGenerator[Any, None]:
        """The caller's stream until its end."""
        while (value := await self.inbox.receive()) is not None:
            yield value

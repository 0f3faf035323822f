"""A link: the machine joined to a channel of messages, with the tasks, deadlines and queues that this needs.

Belongs here: the handshake, reading and writing, our calls, the end. Does not: what a websocket is (websocket.py),
how one call is used (calls.py), running the peer's calls
(serving.py). Called by core/ and agent/, which own the task that runs `Link.run`.

Reading never waits for anything but the channel: values go into bounded inboxes, replies into a bounded outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, Self

from prouter.errors import (
    Incompatible,
    LinkClosed,
    RemoteProtocolError,
    TimedOut,
)
from prouter.rpc.calls import Call
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
from prouter.rpc.machine import IdCounter, Machine, Role
from prouter.rpc.messages import CallType, ErrorInfo
from prouter.rpc.methods import Methods
from prouter.rpc.serving import Serving
from prouter.rpc.streams import Budget, Inbox, Outbox

logger = logging.getLogger(__name__)

CLOSE_CLEAN = 1000
CLOSE_ERROR = 1002
"""The two close codes that originals know."""

HANDSHAKE_TIMEOUT_SECONDS = 10.0
"""An original waits 60 s; somebody who has not said who he is should not hold a socket that long."""

FLUSH_TIMEOUT_SECONDS = 2.0
"""How long a clean close waits for results that are not written yet."""

Authenticate = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Gets the peer's user data, returns ours. Raises `Unauthorized` (or any other error) to refuse."""


class MessageChannel(Protocol):
    """What carries the messages. Only one task receives; every method has an end, also when the peer is dead."""

    @property
    def close_code(self) -> int | None:
        """The code with which the channel was closed, None while it is open or when it broke."""

    @property
    def fell_silent(self) -> bool:
        """Whether it was closed because nothing came from the peer any more."""

    async def receive(self) -> bytes | None:
        """The next message, None at the end. Raises `RemoteProtocolError` for what is no message."""

    async def send(self, data: bytes) -> None:
        """Raises `LinkClosed`, also when the peer has taken nothing for too long."""

    async def close(self, code: int) -> None:
        """Close, once; `receive` ends then. Never raises for a channel that is gone."""

    async def keep_alive(self) -> None:
        """Look after the peer until the channel ends; closes it when nothing comes from the peer any more."""

    async def ping(self) -> None:
        """Until the peer has read what was sent before this. Raises `LinkClosed`; the deadline is the caller's."""

    def lift_limit(self) -> None:
        """The peer proved who it is: messages over 64 KiB may come from now on."""


class Link:
    """One end of an open link. Made by `connect` or `accept`; `run` has to run for anything to happen."""

    def __init__(self, channel: MessageChannel, machine: Machine, methods: Methods, limits: Limits) -> None:
        self.connection_id = ""
        self._channel = channel
        self._machine = machine
        self._limits = limits
        self._outbox = Outbox(limits)
        self._budget = Budget(limits.link_queue_bytes)
        self._calls: dict[int, Call] = {}
        self._serving = Serving(self, machine, methods, limits, self._outbox, self._budget)
        self._tasks: asyncio.TaskGroup | None = None
        self._end: LinkClosed | None = None
        self._code = CLOSE_CLEAN
        self._gone = asyncio.Event()
        self._dropped_count = 0

    def queues(self) -> Mapping[str, Any]:
        """What is under way, and what waits between the link and those who read or write it."""
        limits = self._limits
        return {
            "calls": {"ours": len(self._calls), "peers": len(self._serving)},
            "to_send_bytes": {"now": self._outbox.held_bytes, "limit": limits.send_queue_bytes},
            "unread_bytes": {"now": self._budget.held_bytes, "limit": limits.link_queue_bytes},
        }

    # -- the handshake

    @classmethod
    async def connect(
        cls,
        channel: MessageChannel,
        *,
        user_data: Mapping[str, Any],
        ids: IdCounter | None = None,
        methods: Methods | None = None,
        limits: Limits | None = None,
        handshake_timeout_seconds: float = HANDSHAKE_TIMEOUT_SECONDS,
    ) -> Self:
        """Shake hands as the side that dialed. Raises `LinkClosed` when the peer refuses us (an original closes with
        1002 and no answer), `TimedOut`, `RemoteProtocolError`; the channel is closed then."""
        limits = limits or Limits()
        machine = Machine(Role.CONNECTING, ids or IdCounter(), limits)
        link = cls(channel, machine, methods or Methods(), limits)
        try:
            async with asyncio.timeout(handshake_timeout_seconds):
                await channel.send(machine.hello(user_data))
                event = await link._handshake_event()
        except BaseException as error:
            await channel.close(CLOSE_ERROR)
            if isinstance(error, TimeoutError):
                raise TimedOut(f"the peer did not answer the handshake within {handshake_timeout_seconds} s") from None
            raise
        if isinstance(event, WelcomeReceived):
            link.connection_id = event.connection_id
            return link
        await channel.close(CLOSE_ERROR)
        reason = event.error.message if isinstance(event, Refused) and event.error else "no reason given"
        raise LinkClosed(f"the peer refused the handshake: {reason}")

    @classmethod
    async def accept(
        cls,
        channel: MessageChannel,
        *,
        authenticate: Authenticate,
        ids: IdCounter | None = None,
        methods: Methods | None = None,
        limits: Limits | None = None,
        handshake_timeout_seconds: float = HANDSHAKE_TIMEOUT_SECONDS,
    ) -> Self:
        """Shake hands as the side that was dialed. What `authenticate` raises is raised, after the channel was closed
        with 1002 and without an answer (`Incompatible` is told to a peer of ours before); else as `connect`. The
        deadline is for the peer, not for `authenticate`."""
        limits = limits or Limits()
        machine = Machine(Role.ACCEPTING, ids or IdCounter(), limits)
        link = cls(channel, machine, methods or Methods(), limits)
        try:
            async with asyncio.timeout(handshake_timeout_seconds):
                event = await link._handshake_event()
        except BaseException as error:
            await channel.close(CLOSE_ERROR)
            if isinstance(error, TimeoutError):
                raise TimedOut(f"no handshake came within {handshake_timeout_seconds} s") from None
            raise
        assert isinstance(event, HelloReceived)
        try:
            ours = await authenticate(event.user_data)
            channel.lift_limit()
            link.connection_id = uuid.uuid4().hex
            await channel.send(machine.welcome(link.connection_id, ours))
        except BaseException as error:
            if isinstance(error, Incompatible) and machine.peer_is_prouter:
                with contextlib.suppress(LinkClosed):
                    await channel.send(machine.refuse(ErrorInfo(error.detail, error.wire_name(), error.detail, "")))
            await channel.close(CLOSE_ERROR)
            raise
        return link

    async def _handshake_event(self) -> Event:
        while True:
            data = await self._channel.receive()
            if data is None:
                code = self._channel.close_code
                raise LinkClosed(f"the peer closed the link without shaking hands (code {code}); is the token right?")
            for event in self._machine.receive(data):
                if not isinstance(event, Dropped):
                    return event
                self._note_dropped(event)

    # -- what callers use

    @property
    def peer(self) -> Mapping[str, Any]:
        """The user data with which the peer introduced itself, as it came: trust nothing but its shape as a map."""
        return self._machine.peer

    @property
    def peer_is_prouter(self) -> bool:
        """Whether the peer is one of ours: it sent the key "prouter", which originals never do."""
        return self._machine.peer_is_prouter

    @property
    def closed(self) -> bool:
        """Whether the link has ended or is about to: no call can be made."""
        return self._end is not None

    @property
    def close_code(self) -> int | None:
        """The websocket's close code, once the link has ended; None when it broke."""
        return self._channel.close_code

    @property
    def fell_silent(self) -> bool:
        """Whether the link ended because nothing came from the peer any more."""
        return self._channel.fell_silent

    @property
    def end_reason(self) -> str:
        """Why the link ended, for the log; empty while it is open."""
        return "" if self._end is None else self._end.detail

    async def call(self, method: str, /, *args: Any, timeout_seconds: float | None, **kwargs: Any) -> Any:
        """Call a unary method and wait for its result. Raises as `Call.result`, and `TimedOut`; when it is cancelled
        or too late the peer is told. None means no deadline: for calls that wait for a job."""
        try:
            async with asyncio.timeout(timeout_seconds), self.open(CallType.UNARY, method, *args, **kwargs) as call:
                return await call.result()
        except TimeoutError:
            raise TimedOut(f"{method!r} gave no result within {timeout_seconds} s") from None

    async def round_trip(self, timeout_seconds: float) -> None:
        """Until the peer has read everything that was sent before, as the answer to a ping shows: the only way to pace
        a stream to an original, which has no other flow control. Raises `LinkClosed`, `TimedOut`."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._outbox.passed()
                await self._channel.ping()
        except TimeoutError:
            raise TimedOut(f"the peer did not read what was sent within {timeout_seconds} s") from None

    def open(self, call_type: CallType, method: str, /, *args: Any, **kwargs: Any) -> Call:
        """A call with streams, to be used in `async with`."""
        inbox = Inbox(self._limits, self._budget)
        return Call(self._machine, self._outbox, inbox, self._register, (call_type, method, args, kwargs))

    def _register(self, call_id: int, call: Call | None) -> None:
        if call is None:
            self._calls.pop(call_id, None)
        else:
            self._calls[call_id] = call

    async def close(self, code: int = CLOSE_CLEAN) -> None:
        """End the link; what was to be sent is sent, for `FLUSH_TIMEOUT_SECONDS` at most. Calls fail `LinkClosed`."""
        if self._end is None and self._tasks is not None and code == CLOSE_CLEAN:
            try:
                async with asyncio.timeout(FLUSH_TIMEOUT_SECONDS):
                    await self._outbox.empty()
            except TimeoutError:
                logger.warning("a link was closed before everything was sent")
        self._finish("we closed the link", code)
        await self._channel.close(self._code)
        if self._tasks is None:
            self._gone.set()

    async def wait_closed(self) -> None:
        """Wait until nothing of the link is left: its channel closed, its tasks ended."""
        await self._gone.wait()

    # -- running

    async def run(self) -> None:
        """Read until the end; returns then, whatever the reason (see `end_reason`). Cancel it, or `close`, to end it.

        The peer's calls run as tasks of this one and are cancelled with it.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = self._serving.tasks = tasks
                helpers = [
                    tasks.create_task(self._write(), name="link: write"),
                    tasks.create_task(self._channel.keep_alive(), name="link: keep alive"),
                ]
                try:
                    await self._read()
                finally:
                    self._finish("the link ended", CLOSE_CLEAN)
                    self._serving.cancel_all()
                    for task in helpers:
                        task.cancel()
        finally:
            self._finish("the link ended", CLOSE_CLEAN)
            await self._channel.close(self._code)
            self._gone.set()

    async def _read(self) -> None:
        try:
            while self._end is None:
                data = await self._channel.receive()
                if data is None:
                    self._finish(f"the peer ended the link (code {self._channel.close_code})", CLOSE_CLEAN)
                    return
                for event in self._machine.receive(data):
                    self._take(event)
        except RemoteProtocolError as error:
            logger.warning("a peer broke the protocol, its link is closed: %s", error.detail)
            self._finish(f"the peer broke the protocol: {error.detail}", CLOSE_ERROR)

    async def _write(self) -> None:
        try:
            while True:
                await self._channel.send(await self._outbox.oldest())
                self._outbox.written()
        except LinkClosed as error:
            self._finish(error.detail, CLOSE_ERROR)
            await self._channel.close(CLOSE_ERROR)

    def break_off(self, reason: str) -> None:
        """End the link because of what the peer did; for the parts of the link. Needs `run` to be running."""
        if self._end is None and self._tasks is not None:
            logger.warning("a link is closed: %s", reason)
            self._finish(reason, CLOSE_ERROR)
            self._tasks.create_task(self._channel.close(CLOSE_ERROR), name="link: close")

    def _finish(self, reason: str, code: int) -> None:
        """The end, for the first reason given; every call of ours fails with it."""
        if self._end is not None:
            return
        self._code = code
        self._end = LinkClosed(f"the link ended: {reason}" if reason != "the link ended" else reason)
        self._machine.close()
        self._outbox.close(self._end)
        for call in list(self._calls.values()):
            call.fail(LinkClosed(self._end.detail))
        self._calls.clear()

    # -- what the machine says

    def _take(self, event: Event) -> None:
        match event:
            case CallStarted() | CallCancelled() | CallerSent() | CallerClosed():
                self._serving.take(event)
            case CalleeSent(call_id, data, cost_bytes):
                if call := self._calls.get(call_id):
                    call.take(data, cost_bytes)
            case CalleeClosed(call_id):
                if call := self._calls.get(call_id):
                    call.callee_closed()
            case CallFinished(call_id):
                if call := self._calls.pop(call_id, None):
                    call.finish(event)
            case Dropped():
                self._note_dropped(event)

    def _note_dropped(self, event: Dropped) -> None:
        self._dropped_count += 1
        if self._dropped_count & (self._dropped_count - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...: no flood of the log
            logger.warning("dropped message number %d of a link: %s", self._dropped_count, event.reason)

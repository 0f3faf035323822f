"""One link of an original: the handshake, the loop that reads, calls both ways.

What ends a link of an original ends it here, with a line `VIOLATION ...` on stderr; what an original drops with a
warning has such a line, too. What crosses on the wire (news of calls that are over) is dropped in silence.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from prpc_v0 import calls
from prpc_v0.calls import CallFailedError, IncomingCall, LinkClosedError, OutgoingCall
from prpc_v0.messages import (
    BISTREAM,
    CALL,
    CALL_TYPES,
    CANCEL,
    CLOSE_TO_CALLEE,
    CLOSE_TO_CALLER,
    HELLO,
    ISTREAM,
    NO_METHOD,
    OSTREAM,
    RESULT,
    SUCCESS,
    TO_CALLEE,
    TO_CALLER,
    UNARY,
    WELCOME,
    Message,
    ViolationError,
    pack,
    parse,
    unpack,
    violation,
)
from prpc_v0.settings import LinkSettings
from prpc_v0.streams import Stream

SUBPROTOCOL = "v1.prpc.datadvance"
PATH = "/rpc/v1"
CLEAN, UNCLEAN = 1000, 1002
CLOSE_SECONDS = 2.0
"""For the other side to answer a close."""

WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
Method = Callable[..., Awaitable[Any]]
Check = Callable[["Link", Any], None]
"""Looks at the other side's user data when it comes; raises to refuse it."""


class Link:
    """`ids` is shared by all links of one dialing agent: its numbers go on."""

    def __init__(
        self,
        settings: LinkSettings,
        hello: Mapping[str, Any],
        check: Check,
        methods: Mapping[str, Method] | None,
        ids: itertools.count[int] | None = None,
    ) -> None:
        self.settings = settings
        self.dials = False
        self.connection_id = ""
        self.connected = False
        self.peer: dict[str, Any] = {}
        self._hello = hello
        self._check = check
        self._methods = methods
        self._ids = ids if ids is not None else itertools.count(1)
        self._socket: WebSocket | None = None
        self._welcome: asyncio.Future[list[Any]] | None = None
        self._welcome_id = 0
        self._ended = False
        self._outgoing: dict[int, OutgoingCall] = {}
        self._incoming: dict[int, IncomingCall] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sending = asyncio.Lock()

    @property
    def active(self) -> bool:
        return bool(self._outgoing or self._incoming)

    # How a link begins and ends

    async def accept(self, socket: web.WebSocketResponse) -> None:
        """Serve a link that the other side made, until it ends."""
        self._socket, self.connection_id = socket, uuid.uuid4().hex
        timer = asyncio.get_running_loop().call_later(self.settings.handshake_seconds, self._no_handshake)
        try:
            await self.run()
        finally:
            timer.cancel()

    async def connect(self, socket: aiohttp.ClientWebSocketResponse) -> asyncio.Task[None]:
        """Shake hands on a connection that this side made; the task runs until the link ends. Raises when refused."""
        self._socket, self.dials = socket, True
        self._welcome = asyncio.get_running_loop().create_future()
        self._welcome_id = next(self._ids)
        running = asyncio.create_task(self.run())
        try:
            await self._send(HELLO, self._welcome_id, [1, None, self._hello])
            async with asyncio.timeout(self.settings.handshake_seconds):
                _, self.connection_id, peer = await self._welcome
            for _ in range(self.settings.connected_turns):
                await asyncio.sleep(0)
            self._check(self, peer)
        except BaseException:
            await self.close(UNCLEAN)
            await running
            raise
        self.peer, self.connected = peer, True
        return running

    async def run(self) -> None:
        """Read until the link ends."""
        code = UNCLEAN
        try:
            code = await self._read()
        except ViolationError as error:
            violation(f"that ends the link: {error}")
        except (ConnectionError, aiohttp.ClientError) as error:
            print(f"LOST {error!r}", file=sys.stderr, flush=True)
        finally:
            await self.close(code)

    async def close(self, code: int = CLEAN) -> None:
        """End the link and all its calls."""
        if self._ended:
            return
        self._ended, self.connected = True, False
        closed = LinkClosedError("connection closed")
        for made in list(self._outgoing.values()):
            if not made.result.done():
                made.result.set_exception(closed)
                made.result.exception()
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(closed)
            self._welcome.exception()
        for answered in list(self._incoming.values()):
            if answered.task is not None and answered.task is not asyncio.current_task():
                answered.task.cancel()
        if self._socket is not None and not self._socket.closed:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._socket.close(code=code)
            except TimeoutError:
                pass  # the other side does not say goodbye

    def _no_handshake(self) -> None:
        if not self.connected:
            self._start(self.close(UNCLEAN))

    async def _read(self) -> int:
        assert self._socket is not None
        while True:
            got = await self._socket.receive()
            if got.type is aiohttp.WSMsgType.BINARY:
                await self._handle(parse(got.data))
            elif got.type is aiohttp.WSMsgType.TEXT:
                raise ViolationError(f"a text message: {got.data!r:.100}")
            elif got.type is aiohttp.WSMsgType.ERROR:
                if isinstance(got.data, aiohttp.WebSocketError):
                    raise ViolationError(f"websocket: {got.data}")
                raise ConnectionError(str(got.data))
            else:
                return CLEAN if self._socket.close_code == CLEAN else UNCLEAN

    # What comes

    async def _handle(self, message: Message) -> None:
        expected = WELCOME if self.dials else HELLO
        if (not self.connected and message.kind != expected) or (self.connected and message.kind in (HELLO, WELCOME)):
            violation(f"unexpected message dropped (connected: {self.connected}): {message.fields!r:.200}")
            return
        match message.kind:
            case 1:
                await self._greeted(message)
            case 6:
                self._welcomed(message)
            case 2:
                self._called(message)
            case 3:
                self._cancelled(message.call_id)
            case 4 | 5:
                await self._for_the_callee(message)
            case 7:
                self._answered(message)
            case 8 | 9:
                await self._for_the_caller(message)

    async def _greeted(self, message: Message) -> None:
        version, _, peer = message.fields[2]
        if version != 1:
            raise ViolationError(f"incompatible protocol version {version!r}")
        try:
            self._check(self, peer)
        except Exception as error:
            print(f"REFUSED {error!r}", file=sys.stderr, flush=True)
            await self.close(UNCLEAN)
            return
        self.peer, self.connected = peer, True
        await self._send(WELCOME, message.call_id, [1, self.connection_id, self._hello], SUCCESS, None)

    def _welcomed(self, message: Message) -> None:
        if self._welcome is None or self._welcome.done() or message.call_id != self._welcome_id:
            raise ViolationError(f"an answer to no handshake of ours: {message.fields!r:.200}")
        _, _, result, status, error = message.fields
        if status == SUCCESS:
            self._welcome.set_result(result)
            self.connected = not self.settings.connected_turns
        else:
            self._welcome.set_exception(CallFailedError(status, error or ["refused", None, None, None]))

    def _called(self, message: Message) -> None:
        _, call_id, call_type, method, args, kwargs = message.fields
        if call_type not in CALL_TYPES or call_id in self._incoming:
            raise ViolationError(f"an id twice, or no such type of call: {message.fields!r:.200}")
        stream = self._stream(call_id, call_type, calling=False)
        call = self._incoming[call_id] = IncomingCall(call_id, call_type, method, stream)
        call.task = self._start(self._answer(call, args, kwargs))

    def _cancelled(self, call_id: int) -> None:
        call = self._incoming.get(call_id)
        if call is not None and call.task is not None:
            if self.settings.cancel_delay_seconds:
                asyncio.get_running_loop().call_later(self.settings.cancel_delay_seconds, call.task.cancel)
            else:
                call.task.cancel()

    async def _for_the_callee(self, message: Message) -> None:
        call = self._incoming.get(message.call_id)
        if call is not None and not await self._feed(message, call.method, call.stream) and call.task is not None:
            call.queue_was_full = True
            call.task.cancel()

    async def _for_the_caller(self, message: Message) -> None:
        call = self._outgoing.get(message.call_id)
        if call is not None and not await self._feed(message, call.method, call.stream):
            await self.cancel(call, CallFailedError(0, ["caller stream buffer is full", None, None, None]))

    async def _feed(self, message: Message, method: str, stream: Stream | None) -> bool:
        """Give it to the stream; False when its queue stayed full."""
        if stream is None:
            raise ViolationError(f"a stream for a call without one ({method}): {message.fields!r:.200}")
        if message.kind in (CLOSE_TO_CALLEE, CLOSE_TO_CALLER):
            stream.close_quietly()
            return True
        if stream.closed:
            return True
        if not stream.readable:
            raise ViolationError(f"data for a stream in the other direction ({method}): {message.fields!r:.200}")
        if stream.full:
            print(f"STALL call {message.call_id} ({method})", file=sys.stderr, flush=True)
        if await stream.feed(message.fields[2], self.settings.queue_seconds):
            return True
        violation(f"the queue of call {message.call_id} ({method}) was full for {self.settings.queue_seconds} s")
        return False

    def _answered(self, message: Message) -> None:
        call = self._outgoing.get(message.call_id)
        if call is None or call.result.done():
            return
        _, _, result, status, error = message.fields
        if status == SUCCESS:
            try:
                call.result.set_result(unpack(result))
            except (TypeError, ValueError) as problem:
                raise ViolationError(f"a result is packed twice: {message.fields!r:.200}") from problem
        else:
            call.result.set_exception(CallFailedError(status, error or ["<no error message>", None, None, None]))
            call.result.exception()
        if call.stream is not None:
            call.stream.close_quietly()

    # What this side answers

    async def _answer(self, call: IncomingCall, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        try:
            answer = await self._invoke(call, args, kwargs)
        except asyncio.CancelledError:
            if not call.queue_was_full:
                return
            answer = calls.queue_full()
        finally:
            del self._incoming[call.call_id]
            if call.stream is not None:
                call.stream.close_quietly()
        try:
            await self._send(RESULT, call.call_id, *answer)
        except (LinkClosedError, ConnectionError):
            pass  # nobody is there to be told

    async def _invoke(self, call: IncomingCall, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, int, Any]:
        if self._methods is None:
            return None, NO_METHOD, ["connection has no available methods", "", "", "Traceback ..."]
        method = self._methods.get(call.method)
        if method is None:
            cause = repr(call.method)
            return None, NO_METHOD, [f"method '{call.method}' is not found", "KeyError", cause, "Traceback ..."]
        try:
            return pack(await method(self, call, *args, **kwargs)), SUCCESS, None
        except Exception as error:
            print(f"RAISED {call.method}: {error!r}", file=sys.stderr, flush=True)
            return calls.raised(call, error)

    # What this side calls

    @asynccontextmanager
    async def call(
        self, call_type: int, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> AsyncIterator[OutgoingCall]:
        """A call; cancelled when the block ends before its result came. Raises LinkClosedError."""
        if not self.connected:
            raise LinkClosedError("not connected")
        call_id = next(self._ids)
        stream = self._stream(call_id, call_type, calling=True)
        call = OutgoingCall(call_id, method, stream, asyncio.get_running_loop().create_future())
        self._outgoing[call_id] = call
        try:
            await self._send(CALL, call_id, call_type, method, list(args), dict(kwargs or {}))
            yield call
        finally:
            try:
                if not call.result.done():
                    await self.cancel(call, LinkClosedError("call is cancelled by client"))
            finally:
                self._outgoing.pop(call_id, None)

    async def call_unary(self, method: str, *args: Any) -> Any:
        """Raises CallFailedError, LinkClosedError."""
        async with self.call(UNARY, method, args) as call:
            return await asyncio.shield(call.result)

    async def cancel(self, call: OutgoingCall, error: Exception) -> None:
        if call.cancelled or call.result.done():
            return
        call.cancelled = True
        call.result.set_exception(error)
        call.result.exception()
        if call.stream is not None:
            call.stream.close_quietly()
        await self._send(CANCEL, call.call_id)

    async def result_of(self, call: OutgoingCall) -> Any:
        """Close this side's stream, if it is open, and wait for the result. Raises CallFailedError, LinkClosedError."""
        if call.stream is not None and not call.result.done():
            await call.stream.close()
        return await asyncio.shield(call.result)

    # Parts

    def _stream(self, call_id: int, call_type: int, *, calling: bool) -> Stream | None:
        if call_type == UNARY:
            return None
        data, close = (TO_CALLEE, CLOSE_TO_CALLEE) if calling else (TO_CALLER, CLOSE_TO_CALLER)
        return Stream(
            readable=call_type in (BISTREAM, ISTREAM if calling else OSTREAM),
            writable=call_type in (BISTREAM, OSTREAM if calling else ISTREAM),
            queue_messages=self.settings.queue_messages,
            receive_delay_seconds=self.settings.receive_delay_seconds,
            send_data=lambda value: self._send(data, call_id, value),
            send_close=lambda: self._send(close, call_id),
        )

    async def _send(self, *fields: Any) -> None:
        if self._socket is None or self._socket.closed:
            raise LinkClosedError("connection closed")
        data = pack(list(fields))
        async with self._sending:
            await self._socket.send_bytes(data)

    def _start(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

"""Methods of plugins and of the original as methods of a link: their stream is paced, their errors are translated."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from prouter.errors import InvalidRequest, OriginalError, ProuterError
from prouter.model.methods import RpcHandler, RpcKind, RpcMethod
from prouter.rpc.calls import CallContext
from prouter.rpc.limits import Limits
from prouter.rpc.messages import CallType
from prouter.rpc.methods import MethodFunction, Methods

CALL_TYPES = {
    RpcKind.UNARY: CallType.UNARY,
    RpcKind.ISTREAM: CallType.ISTREAM,
    RpcKind.OSTREAM: CallType.OSTREAM,
    RpcKind.BISTREAM: CallType.BISTREAM,
}
WINDOW = 8
"""Messages of a stream between two pings: a quarter of what an original queues before it stops reading its link."""
ANSWER_SECONDS = 60.0
"""For a ping; an original that is silent for longer is gone."""
SLOW_SECONDS = 0.5
"""A ping that takes longer says that the original waited for its own client: its queue is full."""
MAX_PAUSE_SECONDS = 1.0
"""After such a ping, so that the queue empties before the original has to stop reading again."""
HEAD_BYTES = 64
"""What a message's own head may take."""


class PacedStream:
    """Implements model.methods.RpcStream. An original has no flow control: it queues 32 messages of a call, then reads
    nothing at all for up to 5 s, then fails the call. Only the answer to a ping tells that it has read what was sent.
    """

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._paced = not context.link.peer_is_prouter
        self._unanswered = 0
        limits = Limits()
        self.max_bytes = (limits.original_bytes if self._paced else limits.stream_bytes) - HEAD_BYTES

    async def send(self, value: Any) -> None:
        await self._context.send(value)
        self._unanswered += 1
        if self._paced and self._unanswered >= WINDOW:
            await self._pace()

    async def receive(self) -> Any:
        return await self._context.receive()

    async def close(self) -> None:
        await self._context.close_send()

    async def _pace(self) -> None:
        self._unanswered = 0
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        await self._context.link.round_trip(ANSWER_SECONDS)
        took_seconds = loop.time() - asked_at
        if took_seconds > SLOW_SECONDS:
            await asyncio.sleep(min(took_seconds, MAX_PAUSE_SECONDS))


def offer(methods: Methods, method: RpcMethod) -> None:
    """Raises LocalProtocolError for a name that is taken."""
    methods.add(method.name, _spoken(method.handler), CALL_TYPES[method.kind])


def _spoken(handler: RpcHandler) -> MethodFunction:
    @functools.wraps(handler)  # the arguments are checked against those of the handler
    async def method(context: CallContext, *args: Any, **kwargs: Any) -> Any:
        try:
            return await handler(PacedStream(context), *args, **kwargs)
        except InvalidRequest as error:
            if context.link.peer_is_prouter:
                raise
            raise _as_value_error(error) from error

    return method


def _as_value_error(error: ProuterError) -> OriginalError:
    """What the original says of arguments that make no sense."""
    return OriginalError("ValueError", error.detail.removeprefix("Invalid request: "))

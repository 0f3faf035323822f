"""The two ends of a call: one that this side makes, one that it answers."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass
from typing import Any

from prpc_v0.messages import METHOD_RAISED, SERVER_ERROR
from prpc_v0.streams import Stream

QUEUE_FULL = "callee stream buffer is full"


class CallFailedError(Exception):
    """The other side answered with a failure. `error` is as it came: message, cause type, cause message, traceback."""

    def __init__(self, status: int, error: list[Any]) -> None:
        super().__init__(error[0])
        self.status = status
        self.error = error


class LinkClosedError(Exception):
    """The link ended before the call did."""


@dataclass
class OutgoingCall:
    """A call to the other side."""

    call_id: int
    method: str
    stream: Stream | None
    result: asyncio.Future[Any]
    cancelled: bool = False


@dataclass
class IncomingCall:
    """A call from the other side. `task` runs the method."""

    call_id: int
    call_type: int
    method: str
    stream: Stream | None
    task: asyncio.Task[None] | None = None
    queue_was_full: bool = False

    def open_stream(self) -> Stream:
        assert self.stream is not None
        return self.stream


def raised(call: IncomingCall, error: Exception) -> tuple[None, int, list[str]]:
    """The answer for a method that raised: four texts, always."""
    text = "\n".join(traceback.TracebackException.from_exception(error).format())
    message = f"call {call.call_id} ('{call.method}') failed: {error}"
    return None, METHOD_RAISED, [message, type(error).__name__, str(error), text]


def queue_full() -> tuple[None, int, list[str | None]]:
    """The answer for a call whose stream nobody read. It has no cause: an error of the library, not of a method."""
    return None, SERVER_ERROR, [QUEUE_FULL, None, None, f"RpcStreamTimeoutError: {QUEUE_FULL}\n"]

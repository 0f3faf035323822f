"""Methods that plugins of the agent offer to routers over their links (prouter_rpc_methods).

Plugins import them from plugin.py. How a call goes over a link is in prouter/rpc.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

OWN_METHODS = ("prouter_", "pipe_", "job_")
"""How the names of what an agent itself offers over its links begin; plugins' methods have others."""


class RpcKind(StrEnum):
    """Who sends a stream in a call over a link, seen from the caller, as the original's protocol names it."""

    UNARY = "unary"
    ISTREAM = "istream"
    """The agent does: a download."""
    OSTREAM = "ostream"
    """The router does: an upload."""
    BISTREAM = "bistream"


class RpcStream(Protocol):
    """The streams of one call of a router, as its method has them. When the router cancels, or its link ends, the
    method is cancelled; what it sends then goes nowhere."""

    @property
    def max_bytes(self) -> int:
        """The most that one text (as UTF-8) or one bytes of ours may have."""

    async def send(self, value: Any) -> None:
        """A value of our stream, anything but None; waits while the router does not read."""

    async def receive(self) -> Any:
        """The next value of the router's stream, None when it has ended. Trust nothing of it."""

    async def close(self) -> None:
        """Our stream is complete; the result, which ends the call, is what the method returns."""


RpcHandler = Callable[..., Awaitable[Any]]
"""`async def handler(stream: RpcStream, *args, **kwargs)`, with the argument names of the wire: what it returns is the
call's result. Raises errors of prouter/errors.py; OriginalError where an original's words are expected."""


@dataclass(frozen=True, slots=True)
class RpcMethod:
    """A method that routers can call over their control link."""

    name: str
    kind: RpcKind
    handler: RpcHandler

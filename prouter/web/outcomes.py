"""What the acceptor asks a dispatcher, and what it may be told to do with a request.

The router and the agent each bring one `Dispatcher`; the acceptor performs the `Outcome` that it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prouter.model.access import ANONYMOUS, Peer, Principal, Resource
from prouter.model.http import ForwardPlan, Headers, Reply, RequestHead, ResponseHead
from prouter.pipe.upstream import Upstream, UpstreamPipe
from prouter.web.unread import Unread

if TYPE_CHECKING:
    from aiohttp import web


NOTHING = Resource()


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a request, as far as it has come."""

    status: int
    """Of the answer; 0 for none."""
    request_bytes: int
    """Of the body, framing of chunks included; after an upgrade all bytes that way."""
    response_bytes: int
    """The same the other way."""
    wait_seconds: float | None
    """Until the head of the upstream's answer; None when there was none."""
    seconds: float
    """Since its head was complete."""
    cut: str
    """Why it ended before it was whole, or why the upstream gave no answer; empty for a clean end."""


@dataclass(slots=True)
class Incoming:
    """A request whose head is complete and valid; its body has not been looked at."""

    head: RequestHead
    peer: Peer
    request_id: str
    """Ours, or the client's X-Request-Id when it is a sane one; every answer carries it."""
    route: str = ""
    """For counting: the pattern of the path, once the dispatcher knows it."""
    principal: Principal = ANONYMOUS
    """Who makes it, once the dispatcher knows."""
    action: str = ""
    """What was asked to be authorized, likewise."""
    resource: Resource = NOTHING
    on_answer: Callable[[Ending], None] | None = None
    """Called once: at the end, or when another protocol begins, which may last for days. Must not raise."""
    on_end: Callable[[Ending], None] | None = None
    """Called at the end, also behind an upgrade. Must not raise. None, as the one above: nobody wants to know."""


Tell = Callable[[Peer, str, str, str, Ending], None]
"""Of a request that has ended: its peer, verb, id, the rest of its target, and what became of it."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """What was decided about a request holds for those from its address that have the same header lines and whose
    target begins with the same prefix and a slash."""

    prefix: str
    """Of the raw target as it came."""
    holds: Callable[[], bool]
    """Whether it still does."""
    take: Callable[[], UpstreamPipe | None]
    """A pipe that is kept for the same target, without waiting, as long as it holds."""
    judge: Callable[[], Awaitable[None]] | None = None
    """Asks who wants to be asked about each request whether it may; raises ProuterError. None: nobody does."""
    tell: Tell | None = None
    """Tells whoever wants to know of each request's end. None: nobody does."""
    resource: Resource = NOTHING
    """What it is about, for counting."""
    unread: Unread | None = None
    """Which header lines it was not decided by, so that it holds for requests with others of these. None: by any."""
    anew: Anew | None = None
    """Asks who wants to see each request, or its answer. None: nobody does."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Relay the request through a pipe."""

    open: Callable[[bool], Awaitable[Upstream]]
    """A pipe bound to the target; True asks for a fresh one, never used before. Raises ProuterError."""
    plan: ForwardPlan
    head: RequestHead | None = None
    """The head to forward where request hooks changed it; framed as the client's is."""
    change_answer: AnswerChange | None = None
    """The chain of answer hooks; None when nobody implements one."""
    follows: bool = False
    """As in model.plugin.Relay: without an idle limit, cut at once when the endpoint ends."""
    lasting: Callable[[], Lasting | None] | None = None
    """Whether it holds for requests like this one; asked when there was one like it before."""


AnswerChange = Callable[[ResponseHead], Awaitable[ResponseHead]]
"""What plugins make of an answer's head."""
Anew = Callable[[Incoming, str], Awaitable[Forward | Reply | AnswerChange | None]]
"""Of a request, its own head in it, with the rest of its target: how it goes, what is answered in the job's place, or,
where it goes as the first one did, what changes its answer. Raises ProuterError."""


class Allowance:
    """How many bytes a client may send on one request; lifted once it has proved who it is."""

    def __init__(self, limit_bytes: int) -> None:
        self._left: int | None = limit_bytes

    def lift(self) -> None:
        self._left = None

    def spend(self, count: int) -> bool:
        """False: that was too much."""
        if self._left is None:
            return True
        self._left -= count
        return self._left >= 0


@dataclass(frozen=True, slots=True)
class Serve:
    """Let aiohttp answer this one request, through a stand-in transport."""

    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    allowance: Allowance | None = None
    """What the client may send behind the head before the handler lifts it; over it the connection is cut."""
    follows: bool = False
    """As in model.plugin.Route: its handler ends when the endpoint does; a client that does not read is cut then."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Answer 101 with these headers, then give the transport away, with the bytes that came behind the head."""

    headers: Headers
    accept: Callable[[asyncio.Transport, bytes], None]


Outcome = Reply | Forward | Serve | Tunnel


class Dispatcher(Protocol):
    """Decides what becomes of a request."""

    async def dispatch(self, incoming: Incoming) -> Outcome:
        """Begun without a task: what needs one (asyncio.timeout) awaits `pipe.steps.in_a_task` before.

        Raises ProuterError, which is answered as problem+json; anything else is a 500 and logged.
        """

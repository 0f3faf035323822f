"""The short way of a request: like one before it, on a pipe that is kept, with an answer that comes in one piece.

What such a request costs the router stands here and in pipe/short.py, for the pipe: its bytes are written to the pipe,
and those of its answer to the client. What it costs the agent stands in pipe/passing.py.

Contract. This is a base of ClientConnection (connection.py), which comes here with bytes of its client only while no
other request of it is under way, nothing is kept in its buffer, and the client takes what is written to it: so nothing
piles up for one that does not. Nothing is decided here: what was decided for a request before is good for this one as
long as it holds, and `Lasting.take` (outcomes.py) is the one that knows. It gives a pipe only while it does, and nobody
asks again behind it. What the job and the client get, and what is counted and told, is the same as on the long way
(exchange.py). Of a request nothing is kept but the tuple `Pending`; `in_full` makes an exchange of that as soon as
anything else comes than a whole answer: more bytes of the client, its end, an answer in parts or of another kind, a
deadline, the router's own end. The exchange then goes on as if it had been there from the beginning.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from prouter.http1.response import WholeAnswer
from prouter.model.access import Peer
from prouter.model.ids import new_request_mark
from prouter.model.traffic import PROXIED, Traffic
from prouter.pipe.upstream import UpstreamPipe
from prouter.web.again import Again
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Ending, Tell

MAX_SAME_BYTES = 4096
"""Of a request that is kept to know the next one by it."""
Pending = tuple[Again, bytes, bytes, bytes, UpstreamPipe, float]
"""What is known of the request, its head, what the job got where that may be sent once more, the request's id, the
pipe, when it began. A body is not kept: many may wait for slow jobs."""


class ShortHome(Protocol):
    """The acceptor, as far as it is needed here."""

    limits: WebLimits
    traffic: Traffic
    draining: bool


class ShortWay:
    """A base of a client's connection, and what its pipe tells of the answer (Asker)."""

    _home: ShortHome
    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport
    _peer: Peer
    late_at: float
    """When it will have been idle, or waited for an answer, for too long; the acceptor looks."""
    _pending: Pending | None = None
    """The request that is under way without an exchange."""
    _same: tuple[bytes, Again | None, bytes] = (b"", None, b"")
    """The last request, what was known of it, what the job got before the id: the next one is often the same."""

    def send_short(self, again: Again, data: bytes) -> bool:
        """Send the request in `data` to the job, where it is one that `again` knows and a pipe is kept."""
        same, known, opening = self._same
        if data != same or known is not again:
            rest = again.matched(data) if again.short else None
            if rest is None or not again.is_whole(data, rest):
                return False
            opening = again.opening(rest)
            if len(data) <= MAX_SAME_BYTES:
                self._same = (data, again, opening)
        pipe = again.lasting.take()
        if pipe is None:
            return False
        mark = new_request_mark()
        request = opening + mark + again.last + again.body_of(data)
        kept = request if again.repeatable else b""
        self._pending = (again, again.head_in(data), kept, mark, pipe, self._loop.time())
        pipe.ask(self, request)
        return True

    def answered_whole(self, answer: WholeAnswer, came: bytes) -> bool:
        """Asker: `came` is the whole answer. False sends it the long way."""
        home, pending = self._home, self._pending
        if pending is None or home.draining:
            return False
        self._pending = None
        again, _, _, mark, _, begun = pending
        last_line = mark + b"\r\nConnection: close" if again.closes else mark
        self._transport.write(answer.opening + last_line + came[answer.rest_at :])
        now = self._loop.time()
        home.traffic.finished(
            PROXIED, answer.status, now - begun, again.length, answer.length, again.lasting.resource.job
        )
        if again.lasting.tell is not None:
            self._tell_end(again.lasting.tell, pending, answer, now - begun)
        if again.closes:
            self.close_behind()
        else:
            self.late_at = now + home.limits.idle_seconds
        return True

    def _tell_end(self, tell: Tell, pending: Pending, answer: WholeAnswer, seconds: float) -> None:
        again, head, _, mark, _, _ = pending
        ending = Ending(answer.status, again.length, answer.length, seconds, seconds, "")
        tell(self._peer, again.head.method, mark.decode("ascii"), again.rest_of(head).decode("ascii"), ending)

    def in_full(self) -> None:
        """Asker: make an exchange of what is under way, if anything is."""
        raise NotImplementedError

    def close_behind(self) -> None:
        """The client sends no more, and has its last answer."""
        raise NotImplementedError

"""The short way of a request: like one before it, on a pipe that is kept, with an answer that comes in one piece.

Most requests of most clients go this way, and it is what a proxied request costs: two writes, and the next page. The
other half is pipe/short.py.

Contract: what the job and the client get, and what is counted, is the same as on the long way (connection.py,
exchange.py). Nothing is decided here: what was decided for a request before holds for this one (again.py), or it does
not come here. Nothing is made for a request but the tuple `Short`, from which `in_full` makes an exchange as soon as
anything else happens than a whole answer: more bytes of the client, its end, an answer in parts or of another kind, a
deadline, the end of the endpoint. The exchange then goes on as if it had been there from the beginning.
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
Short = tuple[Again, bytes, bytes, bytes, UpstreamPipe, float]
"""What is known of the request, the request, what the job got, its id, the pipe, when it began."""


class ShortHome(Protocol):
    """The acceptor, as far as it is needed here."""

    limits: WebLimits
    traffic: Traffic
    draining: bool


class ShortWay:
    """Of a client's connection that is idle; an Asker for the pipe."""

    _home: ShortHome
    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport
    _peer: Peer
    late_at: float
    """When the connection was idle, or busy, for too long."""
    _short: Short | None = None
    """The request that is under way."""
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
        self._short = (again, data, request, mark, pipe, self._loop.time())
        pipe.ask(self, request)
        return True

    def answered_whole(self, known: WholeAnswer, data: bytes) -> bool:
        """Asker: the answer to it; False sends it the long way."""
        home, short = self._home, self._short
        if short is None or home.draining:
            return False
        self._short = None
        again, _, _, mark, _, begun = short
        closes = again.closes
        if closes:
            mark += b"\r\nConnection: close"
        self._transport.write(known.opening + mark + data[known.rest_at :])
        now = self._loop.time()
        home.traffic.finished(
            PROXIED, known.status, now - begun, again.length, known.length, again.lasting.resource.job
        )
        if again.lasting.tell is not None:
            self._tell_end(again.lasting.tell, short, known, now - begun)
        if closes:
            self.close_behind()
        else:
            self.late_at = now + home.limits.idle_seconds
        return True

    def _tell_end(self, tell: Tell, short: Short, known: WholeAnswer, seconds: float) -> None:
        again, data, _, mark, _, _ = short
        ending = Ending(known.status, again.length, known.length, seconds, seconds, "")
        tell(self._peer, again.head.method, mark.decode("ascii"), again.rest_of(data).decode("ascii"), ending)

    def in_full(self) -> None:
        """Asker: make an exchange of what is under way, if anything is."""
        raise NotImplementedError

    def close_behind(self) -> None:
        """The client sends no more, and has its last answer."""
        raise NotImplementedError

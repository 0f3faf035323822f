"""What an exchange counts of itself, and who is told of it: what of it has nothing to do with bytes on a wire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from prouter.model.traffic import PROXIED, Traffic
from prouter.web.again import Again
from prouter.web.outcomes import Ending, Incoming

log = logging.getLogger("prouter.web.exchange")

ENDING = "the router is ending; come back in a moment"
CLIENT_GONE = "the client closed the connection"


class Accounted:
    """Counts, times and the end of one exchange."""

    # What most requests leave as it is stands here once and not in each of them.
    _again: Again | None = None
    """What was known of this request before it came."""
    _status = 0
    """Of the answer, once it has begun."""
    _bytes_in = 0
    _bytes_out = 0
    _answered_at = 0.0
    _cut_by = ""
    """Why it did not come to a clean end."""
    _over = False

    def __init__(self, incoming: Incoming, traffic: Traffic) -> None:
        self._incoming = incoming
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._begun_at = self._loop.time()
        self._context = copy_context()

    def _take_from(self, before: Accounted) -> None:
        """Go on counting where another one stops, who tells nobody of the end any more."""
        self._incoming, self._traffic, self._loop = before._incoming, before._traffic, before._loop
        self._begun_at, self._answered_at, self._context = before._begun_at, before._answered_at, before._context
        self._status, self._bytes_in, self._bytes_out = before._status, before._bytes_in, before._bytes_out
        before._over = True

    def _account(self) -> None:
        """It is over: what came of it is counted and told, once."""
        if self._over:
            return
        self._over = True
        seconds = self._loop.time() - self._begun_at
        incoming = self._incoming
        if log.isEnabledFor(logging.DEBUG):
            head, status = incoming.head, self._status or "no answer"
            self._within(log.debug, "%s %s: %s in %.3f s", head.method, head.path[:200], status, seconds)
        job = None
        if incoming.route is PROXIED:
            job = incoming.resource.job
            self._traffic.had_exchange += 1
            if self._again is None:
                self._traffic.decided_anew += 1
        self._traffic.finished(incoming.route, self._status, seconds, self._bytes_in, self._bytes_out, job)
        if incoming.on_answer is not None:
            self._within(self._tell_answered)
        if incoming.on_end is not None:
            self._within(incoming.on_end, self._so_far())

    def _within(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call it with what is known of this request. Its context itself may be entered just now, a copy never is."""
        self._context.copy().run(call, *arguments)

    def _tell_answered(self) -> None:
        tell, self._incoming.on_answer = self._incoming.on_answer, None
        if tell is not None:
            tell(self._so_far())

    def _so_far(self) -> Ending:
        wait = self._answered_at - self._begun_at if self._answered_at else None
        seconds = self._loop.time() - self._begun_at
        return Ending(self._status, self._bytes_in, self._bytes_out, wait, seconds, self._cut_by)

    def _id(self) -> str:
        return self._incoming.request_id

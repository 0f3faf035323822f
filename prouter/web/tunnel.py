"""A client's connection behind a 101: opaque bytes both ways, until both sides ended or one was cut.

Takes the places of the connection and of its exchange (connection.py, exchange.py), which are forgotten then: there may
be thousands of these, open for days, and nothing is kept of them but what is needed to copy, to count and to end.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from prouter.errors import ProuterError, TimedOut
from prouter.http1.response import PlainHead
from prouter.model.http import ResponseHead
from prouter.pipe.reset import end_at_close, half_close, reset
from prouter.pipe.turns import LARGE_BYTES
from prouter.pipe.unsent import Untaken
from prouter.pipe.upstream import Upstream
from prouter.web.accounting import CLIENT_GONE, ENDING, Accounted
from prouter.web.frame_ends import GOING_AWAY, FrameEnds
from prouter.web.limits import WebLimits

log = logging.getLogger(__name__)


class TunnelHome(Protocol):
    """The acceptor."""

    limits: WebLimits

    def lost(self, connection: Tunnel) -> None: ...


class Tunnel(Accounted, asyncio.Protocol):
    """The client's end; a Carrier for the upstream.

    `endless`: that nothing is sent for long is no reason to end. `slow`: the client does not read just now. `early`:
    what came from the upstream before this.
    """

    _eofs = 0
    """Of the two sides."""
    _held = False
    """The upstream does not read just now."""
    _frames: FrameEnds | None = None
    """Of the upstream, where it is a Websocket that has not ended."""
    _untaken: Untaken | None = None
    """Once all is over."""

    def __init__(
        self,
        before: Accounted,
        transport: asyncio.Transport,
        upstream: Upstream,
        home: TunnelHome,
        *,
        endless: bool,
        slow: bool,
        early: bytes,
    ) -> None:
        self._take_from(before)
        if self._incoming.head.upgrade == "websocket":
            self._frames = FrameEnds()
            self._frames.feed(early)
        self._incoming.head = replace(self._incoming.head, headers=())
        self._transport = transport
        self._upstream = upstream
        self._home = home
        self._endless = endless
        self._slow = slow
        self._moved_at = self._loop.time()
        self.late_at = self._moved_at + home.limits.relay_idle_seconds
        """When `overdue` is called; the acceptor looks."""
        upstream.tunnel(self)
        transport.set_protocol(self)

    # --- the client ---

    def data_received(self, data: bytes) -> None:
        self._moved_at = self._loop.time()
        self._bytes_in += len(data)
        self._upstream.write(data)
        if len(data) >= LARGE_BYTES and not (self._held or self._transport.is_closing()):
            self._transport.pause_reading()
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if not (self._held or self._transport.is_closing()):
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        self._upstream.write_eof()
        self._ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over:
            self._cut_by = self._cut_by or CLIENT_GONE
            self._upstream.abort()
            self._account()
        self._home.lost(self)

    def pause_writing(self) -> None:
        self._slow = True
        if not self._over:
            self._upstream.pause_reading("client")

    def resume_writing(self) -> None:
        self._slow = False
        if not self._over:
            self._upstream.resume_reading("client")

    # --- the upstream (Carrier) ---

    def carried(self, data: bytes) -> None:
        self._moved_at = self._loop.time()
        self._bytes_out += len(data)
        if self._frames is not None:
            self._frames.feed(data)
        self._transport.write(data)

    def passed(self) -> None:
        """Nothing waits here."""

    def finished(self) -> None:
        self._frames = None
        half_close(self._transport)
        self._ended()

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        self._cut_by = error.detail
        self._within(log.info, "the tunnel of request %s was cut: %s", self._id(), error.detail)
        reset(self._transport)
        self._account()

    def only_waits(self, seconds: float) -> bool:
        return False

    def body_pause(self) -> None:
        if not (self._held or self._transport.is_closing()):
            self._held = True
            self._transport.pause_reading()

    def body_resume(self) -> None:
        if self._held and not self._transport.is_closing():
            self._held = False
            self._transport.resume_reading()

    def informed(self, head: ResponseHead) -> None:
        raise AssertionError("there are no heads in a tunnel")

    answered = informed

    def passes(self, head: PlainHead) -> None:
        raise AssertionError("there are no heads in a tunnel")

    # --- the end ---

    def _ended(self) -> None:
        """One side sends no more."""
        self._eofs += 1
        if self._eofs == 2:
            self._close()
        else:
            self._moved_at = self._loop.time()  # the other side has from now on, however long nothing was said before
            self.overdue()

    def overdue(self) -> None:
        """Whether nothing was sent for too long."""
        if self._over:
            untaken = self._untaken = self._untaken or Untaken(self._transport)
            self.late_at = self._loop.time() + self._home.limits.idle_seconds
            if untaken.is_stuck():
                self._transport.abort()
            return
        limits, now = self._home.limits, self._loop.time()
        limit = limits.half_close_seconds if self._eofs else limits.relay_idle_seconds
        self.late_at = self._moved_at + limit
        if self._endless and not (self._eofs or self._slow):
            self.late_at = now + limit
        elif self.late_at <= now and self._eofs:
            self._close()
        elif self.late_at <= now:
            self._upstream.abort()
            self.failed(TimedOut(f"nothing was sent either way for {limit:g} s"), untouched=False)

    def _close(self) -> None:
        """Both sides, behind what was written."""
        if self._over:
            return
        self._upstream.release(in_step=False)
        self._account()
        self.late_at = self._loop.time() + self._home.limits.idle_seconds
        end_at_close(self._transport)
        self._transport.close()

    # --- the acceptor ---

    def drain(self) -> bool:
        return True

    def go_away(self) -> bool:
        """Close both sides, as far as we can in words that the client knows; it has until `abort` to read them."""
        if self._over or self._transport.is_closing():
            return True
        self._cut_by = self._cut_by or ENDING
        if self._frames is not None and self._frames.between:
            self._transport.write(GOING_AWAY)
        self._upstream.release(in_step=False)
        self._account()
        end_at_close(self._transport)
        half_close(self._transport)
        self.late_at = self._loop.time() + self._home.limits.idle_seconds
        self._transport.set_protocol(_LastWords(self))
        if self._held and not self._transport.is_closing():
            self._transport.resume_reading()
        return True

    def hang_up(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class _LastWords(asyncio.Protocol):
    """In place of a tunnel that is over: what still comes is dropped, until the client has ended, too."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.connection_lost(exc)

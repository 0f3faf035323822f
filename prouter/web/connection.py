"""A client's connection: reads heads strictly, keeps count of bodies, one exchange at a time, closes in order.

Belongs here: bytes from and to the client, and what they are of. Does not: what becomes of a request (exchange.py), how
the connection ends (parting.py). Made by acceptor.py.

States: idle (no head yet), on the short way (short.py: a request without an exchange), busy (an exchange), lingering
(our last answer is out, what comes is dropped), gone. Behind a 101 a tunnel takes its place (tunnel.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, cast

from prouter.errors import ProuterError, RequestError, TooSlow, Unavailable
from prouter.http1.framing import NO_BODY, BadBody, BodyKind, BodyWatch, Framing, request_framing, wants_close
from prouter.http1.reply import write_reply
from prouter.http1.request import check_unfinished, find_head_end, parse_request_head
from prouter.model.access import Peer
from prouter.model.http import RequestHead
from prouter.model.ids import is_request_id, new_request_id, new_uid
from prouter.model.traffic import PROXIED
from prouter.pipe.reset import cut_at_close, end_at_close, reset
from prouter.pipe.turns import LARGE_BYTES
from prouter.pipe.unsent import Untaken, hold_little
from prouter.pipe.upstream import Upstream
from prouter.pluginkit import context
from prouter.web.accounting import Accounted
from prouter.web.again import Again, learn, learn_kind
from prouter.web.exchange import Exchange
from prouter.web.home import ConnectionHome
from prouter.web.limits import descriptor_of
from prouter.web.outcomes import Forward, Incoming, Lasting
from prouter.web.parting import Parting
from prouter.web.pauses import Pauses
from prouter.web.problem import problem, sent_id
from prouter.web.short import ShortWay
from prouter.web.tunnel import Tunnel

log = logging.getLogger(__name__)

LINGER_BYTES = 1024 * 1024
"""What is read and dropped at most while lingering; then we only wait, so that the answer can be read."""


class ClientConnection(ShortWay, Parting, asyncio.Protocol):
    """One connection of a client. An exchange's Client."""

    _home: ConnectionHome

    def __init__(self, home: ConnectionHome) -> None:
        self._home = home
        self._limits = home.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._peer: Peer
        self._pauses: Pauses
        self._buffer = bytearray()
        """What came and nobody has taken: a head in parts, or the next requests."""
        self._scanned = 0
        self._block = b""
        """The head of this request, as it came."""
        self._again: Again | None = None
        """What is known of requests like the last one."""
        self._watch: BodyWatch | None = None
        self._bad_body = False
        """The body of this request is none: where it ends is not known, what comes is dropped."""
        self._slow = False
        """Much is written that the client has not read: the next request waits."""
        self._exchange: Exchange | None = None
        self._ends_by_close = False

    # --- asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        hold_little(self._transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self._peer = Peer(str(peer[0]), int(peer[1]), transport.get_extra_info("sslcontext") is not None)
        self._pauses = Pauses(self._transport)
        if self._home.admit(self, descriptor_of(transport)):
            self._arm(self._limits.head_seconds, self._head_late)
        else:
            self._refuse(Unavailable("there are too many connections; try again"))
            self._home.turn_away(self)

    def data_received(self, data: bytes) -> None:
        if self._pending is not None:
            self.in_full()
        elif (
            (again := self._again) is not None
            and self._exchange is None
            and not (self._buffer or self._slow or self._lingering)
            and self.send_short(again, data)
        ):
            return
        if self._lingering:
            self._lingering += len(data)
            if self._lingering > LINGER_BYTES:
                self._pauses.add("lingering")
        elif self._exchange is None:
            if not self._buffer and self._begin_again(data):
                return
            self._buffer += data
            self._next_request()
        else:
            if len(data) >= LARGE_BYTES:
                self._pauses.add("turn")
                self._loop.call_soon(self._pauses.remove, "turn")
            self._more(data)

    def eof_received(self) -> bool:
        if self._engaged() is not None:
            self._cancel()  # who closes before the answer ended is gone
            self._watch_untaken(Untaken(self._transport))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._cancel()
        self._buffer.clear()
        self._home.lost(self)

    def pause_writing(self) -> None:
        self._slow = True
        exchange = self._engaged()
        if exchange is not None:
            exchange.client_slow()

    def resume_writing(self) -> None:
        self._slow = False
        if self._exchange is not None:
            self._exchange.client_ready()
        else:
            self._pauses.remove("slow")
            if self._buffer and not (self._lingering or self._transport.is_closing()):
                self._arm(self._limits.idle_seconds, self._head_late)  # in place of the cut of who does not read
            self._resume_pipelined()

    # --- requests ---

    def _next_request(self) -> None:
        """Begin an exchange if a whole head is there; its deadline runs from its first byte, empty lines apart."""
        if self._slow:
            self._pauses.add("slow")
            self._watch_untaken(Untaken(self._transport))
            return
        while self._buffer[:2] == b"\r\n":  # RFC 9112 2.2: empty lines before a request are ignored
            del self._buffer[:2]
        end = find_head_end(self._buffer, self._scanned)
        try:
            if end < 0:
                begun = 0 if self._buffer == b"\r" else len(self._buffer)
                if begun and not self._scanned:
                    self._arm(self._limits.head_seconds, self._head_late)
                self._scanned = begun
                check_unfinished(self._buffer, self._limits.head)
                return
            block = self._block = bytes(self._buffer[:end])
            head = parse_request_head(block, self._limits.head)
        except RequestError as error:
            self._refuse(error)
            return
        self._scanned = 0
        del self._buffer[:end]
        self._begin(head)

    def _begin_again(self, data: bytes) -> bool:
        """Begin an exchange for a request like one before, where it is one."""
        if self._slow or self._home.draining:
            return False
        again = self._again
        rest = again.matched(data) if again is not None else None
        if rest is None:
            again = self._again = self._home.alike.find(data, self._peer)
            if again is None:
                return False
            if self.send_short(again, data):
                return True
            rest = again.matched(data)
        assert again is not None
        if rest is None or not again.lasting.holds():
            self._again = None
            return False
        self._watch = BodyWatch(Framing(BodyKind.LENGTH, again.length)) if again.length else None
        incoming = Incoming(again.head, self._peer, new_request_id(), PROXIED, resource=again.lasting.resource)
        exchange = Exchange(self, incoming, self._home.dispatcher, self._limits, self._home.traffic)
        self._exchange = exchange
        if again.length:
            self._more(data[again.rest_at + len(rest) + again.end_bytes :])
        self._arm(exchange.first_look(), exchange.look)
        exchange.begin_again(again, rest)
        return True

    # --- the short way ends (short.py) ---

    def in_full(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        again, head, request, mark, pipe, begun = pending
        rest = again.rest_of(head)
        incoming = Incoming(again.head, self._peer, mark.decode("ascii"), PROXIED, resource=again.lasting.resource)
        exchange = self._exchange = Exchange(self, incoming, self._home.dispatcher, self._limits, self._home.traffic)
        self._late, self.late_at = exchange.look, begun + self._limits.relay_idle_seconds
        exchange.take_over(again, rest, request, pipe, begun)

    def close_behind(self) -> None:
        self._linger(more_may_come=False)

    def _engaged(self) -> Exchange | None:
        """The exchange that is under way, made now for a request that had none."""
        if self._pending is not None:
            self.in_full()
        return self._exchange

    # --- any other way ---

    def _begin(self, head: RequestHead) -> None:
        sent = head.get("x-request-id")
        request_id = sent if sent is not None and is_request_id(sent) else new_request_id()
        framing = request_framing(head)
        self._watch = None if framing is NO_BODY else BodyWatch(framing)
        exchange = Exchange(
            self, Incoming(head, self._peer, request_id), self._home.dispatcher, self._limits, self._home.traffic
        )
        self._exchange = exchange
        if self._buffer:
            waiting = bytes(self._buffer)
            self._buffer.clear()
            self._more(waiting)
        self._arm(exchange.first_look(), exchange.look)
        exchange.begin()

    def _more(self, data: bytes) -> None:
        """Body bytes of the request, then perhaps those of the next ones."""
        assert self._exchange is not None
        if self._bad_body:
            return
        if self._watch is not None and not self._watch.complete:
            try:
                taken = self._watch.feed(data)
            except BadBody as error:
                self._bad_body = True
                self._exchange.body_broken(f"Invalid request: {error}")
                return
            if taken:
                self._exchange.body(data if taken == len(data) else data[:taken])
            data = data[taken:]
        if data:
            self._buffer += data
            if len(self._buffer) > self._limits.held_bytes:
                self._pauses.add("pipelined")

    def _refuse(self, error: ProuterError) -> None:
        """Answer what is no request, and close: where the next one begins is not known."""
        request_id = sent_id(self._buffer[: self._limits.head.head_bytes]) or new_uid()
        answer = write_reply(
            problem(error, request_id),
            head_only=False,
            keep_alive=False,
            old_client=False,
            extra=(("X-Request-Id", request_id),),
        )
        with context.about(request=request_id):
            log.debug("what %s sent is not taken: %s %s", self._peer.host, error.status, error.code)
        self._home.traffic.finished("", error.status, 0.0, 0, 0)
        self._transport.write(answer)
        self._linger(more_may_come=True)

    # --- the exchange asks (exchange.Client) ---

    @property
    def body_complete(self) -> bool:
        return not self._bad_body and (self._watch is None or self._watch.complete)

    @property
    def sent_trailers(self) -> bool:
        return self._watch is not None and self._watch.trailers

    def stays(self) -> bool:
        return not self._home.draining

    def may_keep_alive(self, head: RequestHead) -> bool:
        return not self._home.draining and self.body_complete and not wants_close(head)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def end_by_close(self) -> None:
        """What is written now ends when the connection does: until it is over, any other close must be a cut."""
        self._ends_by_close = True
        cut_at_close(self._transport)

    def pause_body(self, reason: str) -> None:
        self._pauses.add(reason)

    def resume_body(self, reason: str) -> None:
        self._pauses.remove(reason)

    def become_tunnel(self, before: Accounted, upstream: Upstream, *, endless: bool, early: bytes) -> None:
        self._exchange = None
        self._disarm()
        waiting = bytes(self._buffer)
        self._buffer.clear()
        held = "upstream" in self._pauses
        self._pauses.clear()
        tunnel = Tunnel(before, self._transport, upstream, self._home, endless=endless, slow=self._slow, early=early)
        if held:  # a job may switch before it has read what was asked
            tunnel.body_pause()
        self._home.replaced(self, tunnel)
        if waiting:
            tunnel.data_received(waiting)

    def give_away(self) -> tuple[asyncio.Transport, bytes]:
        """The transport, reading paused, and what came behind the head; this connection knows it no more."""
        self._exchange = None
        self._transport.pause_reading()
        self._home.lost(self)
        return self._transport, bytes(self._buffer)

    def exchange_over(self, *, keep_alive: bool, cut: bool) -> None:
        """The answer was written, or was cut."""
        exchange, self._exchange = self._exchange, None
        if self._transport.is_closing():
            return
        if self._pauses:
            self._pauses.clear()
        if cut:
            self._close()
            return
        if self._ends_by_close:
            end_at_close(self._transport)
        if not keep_alive or self._home.draining:  # the head may have promised more before the endpoint's end began
            last = exchange is not None and exchange.last_of_client and self.body_complete and not self._buffer
            self._linger(more_may_come=not last)
        else:
            self._watch = None
            self._arm(self._limits.head_seconds if self._buffer else self._limits.idle_seconds, self._head_late)
            if self._buffer:
                self._loop.call_soon(self._resume_pipelined)

    def cut(self) -> None:
        """Reset: the client must not take what it has for a whole answer."""
        reset(self._transport)

    def go_on(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        return self._home.go_on(work, context)

    def learn(self, head: RequestHead, request: bytes, request_id: str, lasting: Lasting, outcome: Forward) -> None:
        alike, limits, block = self._home.alike, self._limits.head, self._block
        if alike.seen_before(block, self._peer):
            policy = outcome.plan.answer
            self._again = learn(block, head, request, request_id, limits, lasting, policy, outcome.open)
            if self._again is not None:
                alike.keep(self._again, self._peer)
        names = lasting.unread
        read = alike.kind_to_learn(block, names, self._peer) if names is not None else None
        if names is not None and read is not None:
            sent, plan = outcome.head or head, outcome.plan
            kind = learn_kind(read, names, head, sent, plan, request_id, limits, lasting, outcome.open)
            if kind is not None:
                alike.keep_kind(kind, names, self._peer)

    def look_again(self, seconds: float) -> None:
        if self._exchange is not None:
            self._arm(seconds, self._exchange.look)

    # --- the acceptor asks ---

    def drain(self) -> bool:
        self._again = None  # what was known of requests is not looked at any more: the dispatcher refuses them
        exchange = self._engaged()
        if exchange is not None:
            exchange.endpoint_ends()
        return exchange is not None or self._lingering > 0 or self._transport.is_closing()

    # --- deadlines ---

    def _resume_pipelined(self) -> None:
        if self._exchange is None and self._buffer and not self._lingering and not self._transport.is_closing():
            self._next_request()

    def _head_late(self) -> None:
        if self._pending is not None:  # the job takes its time, which has a limit of its own
            self.in_full()
        elif self._buffer:
            self._refuse(TooSlow(f"the request's head was not complete within {self._limits.head_seconds:g} s"))
        else:
            self._close()

    def _cancel(self) -> None:
        self._engaged()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()

"""The answer's half of an exchange: heads and bytes from the upstream to the client, and whether anything still moves.

Belongs here: what the client gets of an answer, and hooks that change its head. Does not: which upstream it is, and how
the exchange ends (exchange.py, whose base this is).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from prouter.errors import ProuterError, TimedOut, TooSlow, UpstreamFailed
from prouter.http1.fields import names_in
from prouter.http1.framing import NO_BODY, BodyKind, ChunkDecoder
from prouter.http1.policy import answer_end_to_end, forward_response, keep_framing
from prouter.http1.response import PlainHead
from prouter.model.http import AnswerPolicy, Headers, ResponseHead
from prouter.pipe.upstream import Upstream
from prouter.web.accounting import Accounted
from prouter.web.again import Again
from prouter.web.client import Client
from prouter.web.limits import WebLimits
from prouter.web.pace import BodyPace


class Answering(Accounted):
    """A Carrier, but for the answer's end."""

    _client: Client
    _limits: WebLimits
    _upstream: Upstream | None = None
    _policy = AnswerPolicy()
    _change: Callable[[ResponseHead], Awaitable[ResponseHead]] | None = None
    """Somebody changes answer heads."""
    _changing = False
    """He is at it: the head waits for that, and what comes behind it."""
    _arriving = False
    """What came with the head is still being told, and `passed` behind it: nobody had to wait for the change."""
    _parts: tuple[bytes, ...] = ()
    _ended: tuple[ProuterError | None, bool] | None = None
    """How the answer ended meanwhile."""
    _head_sent = False
    _unsent = b""
    """The answer's head, until what came with it is told: both go out as one."""
    _keep_alive = False
    _decoder: ChunkDecoder | None = None
    _tunnel = False
    _early = b""
    """What came with the answer that makes it one."""
    _follows = False
    _served = False
    """By a handler of ours, which ends by itself when the endpoint does."""
    _slow = False
    """The client does not read just now."""
    _framed = False
    """Whether the client sees from the framing where the answer ends."""
    _moved_at = 0.0
    _pace: BodyPace | None = None
    """Of a request with a body that must come at some rate."""

    # --- the upstream tells (Carrier) ---

    def informed(self, head: ResponseHead) -> None:
        if self._pace is not None:
            self._pace.asked_for()
        if self._incoming.head.version == "1.1" and not self._head_sent:
            self._client.write(
                forward_response(head, AnswerPolicy(), framing=NO_BODY, keep_alive=True, old_client=False)
            )

    def answered(self, head: ResponseHead) -> None:
        self._answered_at = self._moved_at = self._loop.time()
        if head.status == 101 and not self._asked_for(head):
            self._finish(UpstreamFailed("the job switched to a protocol that it was not asked for"), abort=True)
        elif self._change is not None:
            assert self._upstream is not None
            self._changing = self._arriving = True
            self._upstream.pause_reading("hook")
            self._go(self._guarded(self._changed(head, self._change)))
            self._arriving = False
        else:
            self._send_head(head)

    def _asked_for(self, head: ResponseHead) -> bool:
        """Whether that is the one protocol that the client asked to switch to (RFC 9110 7.8)."""
        return names_in(head.all("upgrade")) == [self._incoming.head.upgrade]

    def passes(self, head: PlainHead) -> None:
        self._answered_at = self._moved_at = self._loop.time()
        keep = self._client.may_keep_alive(self._incoming.head) if self._again is None else self._may_stay(self._again)
        self._framed = self._head_sent = True
        self._keep_alive = keep
        self._status = head.status
        last = self._incoming.request_id if keep else f"{self._incoming.request_id}\r\nConnection: close"
        self._unsent = head.with_line(b"X-Request-Id", last.encode("ascii"))

    def _may_stay(self, again: Again) -> bool:
        return not again.closes and self._client.stays() and self._client.body_complete

    async def _changed(self, head: ResponseHead, change: Callable[[ResponseHead], Awaitable[ResponseHead]]) -> None:
        """The head goes out as the hooks want it, then what came behind it meanwhile."""
        head = answer_end_to_end(head)
        fresh = await change(head)
        self._changing = False
        if self._upstream is None:
            return
        self._send_head(keep_framing(head, fresh))
        parts, self._parts = self._parts, ()
        for part in parts:
            self._write_body(part)
        self._upstream.resume_reading("hook")
        if not self._arriving:
            self.passed()
        if self._ended is not None:
            self._conclude(*self._ended)

    def carried(self, data: bytes) -> None:
        self._moved_at = self._loop.time()
        if self._changing:
            self._parts += (data,)
        else:
            self._write_body(data)

    def passed(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._client.write(unsent)
        if self._tunnel and self._ended is None:
            self._become_tunnel()

    # --- its parts ---

    def _send_head(self, head: ResponseHead) -> None:
        assert self._upstream is not None
        asked, framing = self._incoming.head, self._upstream.reader.framing
        old_client = asked.version == "1.0"
        self._tunnel = framing.kind is BodyKind.TUNNEL
        self._framed = framing.kind in (BodyKind.LENGTH, BodyKind.CHUNKED)
        self._keep_alive = (self._framed or framing.empty) and self._client.may_keep_alive(asked)
        if old_client and framing.kind is BodyKind.CHUNKED:
            self._decoder = ChunkDecoder()
            self._framed = self._keep_alive = False
        if not (self._framed or framing.empty):
            self._client.end_by_close()
        self._head_sent = True
        self._status = head.status
        self._unsent = forward_response(
            head,
            self._policy,
            framing=framing,
            keep_alive=self._keep_alive,
            old_client=old_client,
            extra=self._extra(),
        )

    def _write_body(self, data: bytes) -> None:
        if self._decoder is not None:
            data = self._decoder.feed(data)
        self._bytes_out += len(data)
        if self._tunnel:
            self._early += data
        unsent, self._unsent = self._unsent, b""
        self._client.write(unsent + data if unsent else data)

    # --- the connection looks ---

    def first_look(self) -> float:
        """In how many seconds; asked once, when it begins."""
        limits = self._limits
        if self._client.body_complete or not limits.body_rate:
            return limits.relay_idle_seconds
        expects = self._incoming.head.get("expect") is not None
        self._pace = BodyPace(limits.body_rate, limits.body_seconds, self._begun_at, waits=expects)
        return min(limits.body_seconds, limits.relay_idle_seconds)

    def look(self) -> None:
        """Whether something takes too long; else the connection is told when to look again."""
        if self._over:
            return
        now, limits = self._loop.time(), self._limits
        left = max(self._moved_at, self._begun_at) + limits.relay_idle_seconds - now
        if (self._served or self._follows) and not self._slow:
            left = limits.relay_idle_seconds  # an answer that is waited for; who reads is looked at again
        due = self._body_due(now)
        if left <= 0:
            self._finish(TimedOut(f"nothing was sent either way for {limits.relay_idle_seconds:g} s"), abort=True)
        elif due <= 0:
            pace = f"{limits.body_rate:g} bytes a second over {limits.body_seconds:g} s"
            self._finish(TooSlow(f"the body came with less than {pace}"), abort=True)
        else:
            self._client.look_again(min(left, due))

    def _body_due(self, now: float) -> float:
        """Seconds until the body's pace is to be looked at; 0: it is too slow."""
        pace = self._pace
        if pace is None or self._client.body_complete or self._head_sent:
            self._pace = None
            return self._limits.relay_idle_seconds
        return pace.look(now, self._bytes_in, taken=self._upstream is not None)

    # --- how it goes on is the exchange's ---

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    def _finish(self, error: ProuterError | None, *, untouched: bool = False, abort: bool = False) -> None:
        raise NotImplementedError

    def _conclude(self, error: ProuterError | None, untouched: bool) -> None:
        raise NotImplementedError

    def _become_tunnel(self) -> None:
        raise NotImplementedError

    def _extra(self) -> Headers:
        return (("X-Request-Id", self._id()),)


def switching(headers: Headers) -> bytes:
    """The head of an answer behind which another protocol begins."""
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

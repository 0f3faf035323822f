"""The router's end of a pipe: one request out, its answer in, again and again while both sides stay in step.

Belongs here: the bind line and its verdict, reading answers, flow control towards the agent. Does not: which pipe
(pool.py), what the answer becomes (web/exchange.py, the usual Carrier).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from prouter.errors import (
    JobInvalidState,
    PortNotFound,
    ProuterError,
    RemoteProtocolError,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)
from prouter.http1.framing import BodyKind
from prouter.http1.response import PlainHead
from prouter.model.http import ResponseHead
from prouter.pipe.alive import UNREACHABLE, is_deaf
from prouter.pipe.answer import TUNNELED, AnswerReader
from prouter.pipe.bind import AGENT_LINE, MAX_LINE_BYTES, BindRefused, parse_verdict
from prouter.pipe.reset import cut_at_close, end_at_close, half_close, reset
from prouter.pipe.short import ShortPipe
from prouter.pipe.turns import LARGE_BYTES
from prouter.pipe.unsent import cut_untaken, hold_little

UNTAKEN_SECONDS = 120.0
"""A pipe that is to close and of which the other end takes nothing for so long is cut: its job does not read what is
left of a request, and need never end it."""


class Carrier(Protocol):
    """Gets an answer, and is told of the flow of what it sends."""

    def informed(self, head: ResponseHead) -> None:
        """An interim head (1xx)."""

    def answered(self, head: ResponseHead) -> None:
        """The final head; its framing is the upstream's `reader.framing`."""

    def passes(self, head: PlainHead) -> None:
        """The final head, where the client can have it as it came; only told to who asked for such heads."""

    def carried(self, data: bytes) -> None:
        """Bytes of the body, framed as they came, or of the tunnel."""

    def passed(self) -> None:
        """All that arrived at once was told: what waits to be sent together goes out."""

    def finished(self) -> None:
        """The answer ended cleanly; in a tunnel: no more bytes come this way."""

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        """It was cut. `untouched`: no byte of it came, and the connection had just been closed."""

    def only_waits(self, seconds: float) -> bool:
        """Whether all was sent so long ago, and nothing but an answer is to come."""

    def body_pause(self) -> None:
        """Send no more for the moment."""

    def body_resume(self) -> None: ...


class Upstream(Protocol):
    """Where a request goes: a pipe, or our own handlers (web/stand_in.py)."""

    @property
    def reader(self) -> AnswerReader: ...

    def begin(self, carrier: Carrier, head: bytes, method: str, *, plain: bool = False) -> None:
        """Send a request's head; its body follows by `write`. `plain`: the carrier may be told heads as they came."""

    def write(self, data: bytes) -> None: ...

    def write_eof(self) -> None:
        """In a tunnel: no more bytes come from the client."""

    def tunnel(self, carrier: Carrier) -> None:
        """Behind a 101: whatever comes from now on goes to this one as it is."""

    def pause_reading(self, reason: str) -> None: ...

    def resume_reading(self, reason: str) -> None: ...

    def release(self, *, in_step: bool) -> None:
        """The exchange is over. `in_step`: the request was sent whole."""

    def abort(self) -> None:
        """The exchange is cut: the other end sees a reset."""


def pass_on(reader: AnswerReader, data: bytes, carrier: Carrier, is_current: Callable[[], bool]) -> None:
    """Tell a carrier what arrived. It may give up amid these bytes: then it is not current any more, and told nothing.

    Raises UpstreamFailed for what is no answer.
    """
    for part in reader.feed(data):
        if not is_current():
            return
        if isinstance(part, bytes):
            carrier.carried(part)
        elif isinstance(part, PlainHead):
            carrier.passes(part)
        elif part is reader.head:
            carrier.answered(part)
        else:
            carrier.informed(part)
    if is_current():
        carrier.passed()
        if reader.complete:
            carrier.finished()


class PipeHome(Protocol):
    """Where a pipe goes back to."""

    def returned(self, pipe: UpstreamPipe) -> None:
        """It carried its exchange to the end and is in step."""

    def lost(self, pipe: UpstreamPipe) -> None:
        """It is closed."""


class UpstreamPipe(ShortPipe, asyncio.Protocol):
    """A pipe bound by `line`. An Upstream."""

    _failed_before: ProuterError | None = None
    """What went wrong before there was an exchange: a refusal may come with the pipe."""

    def __init__(self, transport: asyncio.Transport, leftover: bytes, line: bytes, home: PipeHome) -> None:
        self.uses = 0
        self.idle_since = time.monotonic()
        self.reader = AnswerReader("GET")
        self._transport = transport
        self._unsent_line = line
        self._to_agent = line.startswith(AGENT_LINE)
        self._verdict: bytearray | None = bytearray()
        """What came of the agent's verdict; None once it was ok."""
        self._home = home
        self._carrier: Carrier | None = None
        self._paused: tuple[str, ...] = ()
        cut_at_close(transport)
        transport.set_protocol(self)
        hold_little(transport)
        if not transport.is_reading():
            transport.resume_reading()
        if leftover:
            self.data_received(leftover)

    # --- the exchange asks ---

    def begin(self, carrier: Carrier, head: bytes, method: str, *, plain: bool = False) -> None:
        self.uses += 1
        self.reader = AnswerReader(method, plain=plain)
        self._carrier = carrier
        line, self._unsent_line = self._unsent_line, b""
        self._transport.write(line + head)

    def carry(self, carrier: Carrier, method: str) -> None:
        """From now on the answer to what was asked goes to a carrier."""
        self._asker = None
        self.reader = AnswerReader(method, plain=True)
        self._carrier = carrier

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def write_eof(self) -> None:
        half_close(self._transport)

    def tunnel(self, carrier: Carrier) -> None:
        self.reader, self._carrier = TUNNELED, carrier

    def pause_reading(self, reason: str) -> None:
        if not self._paused:
            self._transport.pause_reading()
            self._paused = (reason,)
        elif reason not in self._paused:
            self._paused += (reason,)

    def resume_reading(self, reason: str) -> None:
        if reason in self._paused:
            self._paused = tuple(other for other in self._paused if other != reason)
            if not self._paused and not self._transport.is_closing():
                self._transport.resume_reading()

    def release(self, *, in_step: bool) -> None:
        self._carrier = None
        for reason in self._paused:
            self.resume_reading(reason)
        unsent = self._transport.get_write_buffer_size()
        if in_step and self.reader.complete and not (self.reader.closes or unsent or self._transport.is_closing()):
            self.idle_since = time.monotonic()
            self.go_back()
        else:
            self.close()

    def close(self) -> None:
        """What was written still goes out."""
        self._carrier = None
        end_at_close(self._transport)
        self._transport.close()
        if self._transport.get_write_buffer_size():
            cut_untaken(partial(reset, self._transport), UNTAKEN_SECONDS, self._transport)

    def abort(self) -> None:
        self._carrier = None
        reset(self._transport)

    # --- the link's owner asks ---

    def cut(self, error: ProuterError) -> None:
        """Whoever has an exchange under way is told."""
        self._fail(error)

    # --- a link that ended (outlived.Busy) ---

    @property
    def over(self) -> bool:
        return self._transport.is_closing()

    def is_deaf(self, silent_seconds: float) -> bool:
        return is_deaf(self._transport, silent_seconds)

    def give_up(self, error: ProuterError, waited_seconds: float) -> None:
        self.be_carried()
        if self._carrier is not None and not self.reader.begun and self._carrier.only_waits(waited_seconds):
            self._fail(error)

    # --- the agent's side tells ---

    def data_received(self, data: bytes) -> None:
        asker = self._asker
        if asker is not None:
            if self.answer_whole(asker, data):
                return
            asker.in_full()
        if len(data) >= LARGE_BYTES:
            self.pause_reading("turn")
            asyncio.get_running_loop().call_soon(self.resume_reading, "turn")
        carrier = self._carrier
        if carrier is not None and self.reader.tunneled:
            carrier.carried(data)
            return
        if self._verdict is not None:
            data = self._read_verdict(data)
            carrier = self._carrier
        if not data:
            return
        if carrier is None:
            self._home.lost(self)  # at once: nobody is to take it in what is left of this turn
            self.close()  # a byte that nobody asked for: out of step
            return
        try:
            pass_on(self.reader, data, carrier, lambda: self._carrier is carrier)
        except UpstreamFailed as error:
            self._fail(error)

    def go_back(self) -> None:
        self._home.returned(self)

    def eof_received(self) -> bool:
        self.be_carried()
        carrier = self._carrier
        if carrier is None:
            self._home.lost(self)
            return False
        if self._verdict is None and self.reader.end_of_stream():
            tunnel = self.reader.framing.kind is BodyKind.TUNNEL
            carrier.finished()
            return tunnel
        self._fail(self._cut(), untouched=self._stale())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.be_carried()
        if self._carrier is not None and isinstance(exc, OSError) and exc.errno in UNREACHABLE:
            self._fail(TimedOut("the agent's host can not be reached any more"))
        elif self._carrier is not None:
            self._fail(self._cut(), untouched=self._stale())
        self._home.lost(self)

    def pause_writing(self) -> None:
        self.be_carried()
        if self._carrier is not None:
            self._carrier.body_pause()

    def resume_writing(self) -> None:
        if self._carrier is not None:
            self._carrier.body_resume()

    def _read_verdict(self, data: bytes) -> bytes:
        """What follows the verdict's line."""
        assert self._verdict is not None
        self._verdict += data
        line, newline, rest = bytes(self._verdict).partition(b"\n")
        if not newline:
            if len(self._verdict) > MAX_LINE_BYTES:
                self._fail(UpstreamFailed("the agent answered a pipe's bind line with too much"))
            return b""
        try:
            refused = parse_verdict(line)
        except RemoteProtocolError as error:
            self._fail(UpstreamFailed(error.detail))
            return b""
        if refused is not None:
            self._fail(refusal(refused))
            return b""
        self._verdict = None
        return rest

    def _stale(self) -> bool:
        """Whether it closed before a byte of the answer came, and was kept from an earlier exchange or never bound."""
        if self._failed_before is not None:
            return False
        return (self.uses > 1 or self._verdict is not None) and not self.reader.begun

    def _cut(self) -> ProuterError:
        if self._failed_before is not None:
            return self._failed_before
        if self.reader.begun:
            return UpstreamFailed("the job's server closed the connection amid its answer")
        if self._to_agent:
            return Unavailable("the connection to the agent ended before its answer came; ask again")
        return UpstreamFailed("the job's server closed the connection without an answer")

    def _fail(self, error: ProuterError, *, untouched: bool = False) -> None:
        self.be_carried()
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.failed(error, untouched=untouched)
        else:
            self._failed_before = error
        reset(self._transport)


def refusal(refused: BindRefused) -> ProuterError:
    """What the agent's verdict on a bind line means."""
    match refused.status:
        case 404:
            return PortNotFound(f"job or port not found: {refused.text}")
        case 409:
            return JobInvalidState(refused.text)
        case 503:
            return Unavailable(refused.text)
    return UpstreamFailed(refused.text)

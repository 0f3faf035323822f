"""An answer as it arrives: heads, body, end or cut. The same for a job's bytes and for those of our own handlers.

Pure: bytes in, parts out. upstream.py and web/stand_in.py feed it.
"""

from __future__ import annotations

from prouter.errors import UpstreamFailed
from prouter.http1.framing import NO_BODY, BadBody, BodyKind, BodyWatch, Framing, response_framing, wants_close
from prouter.http1.request import find_head_end, has_bare_newline
from prouter.http1.response import MAX_HEAD_BYTES, PlainHead, parse_response_head, plain_head
from prouter.model.http import ResponseHead

MAX_INTERIM = 16
"""1xx heads before the answer; nobody sends more than two."""

Part = ResponseHead | PlainHead | bytes


class AnswerReader:
    """One answer to a request with `method`.

    What is always true: heads come before the body; nothing comes behind the end; `begun` tells whether any byte came.
    `plain`: whoever reads takes a head as it came, where it is one that may pass like that.
    """

    head: ResponseHead | PlainHead | None = None
    """The final head, once it came."""
    framing = NO_BODY
    begun = False
    tunneled = False
    """Behind a 101: all that comes is opaque, and need not be looked at."""
    overrun = False
    """Bytes came behind the end: the connection is out of step."""
    _buffer: bytes = b""
    """Of a head, as far as it came."""
    _watch: BodyWatch | None = None
    _interim = 0

    def __init__(self, method: str, *, plain: bool = False) -> None:
        self._method = method
        self._plain = plain

    @property
    def complete(self) -> bool:
        return self._watch is not None and self._watch.complete

    @property
    def closes(self) -> bool:
        """Whether the connection can not be used again."""
        head = self.head
        if head is None or self.overrun or self.framing.kind in _ENDS_BY_CLOSE:
            return True
        return type(head) is ResponseHead and wants_close(head)

    def feed(self, data: bytes) -> list[Part]:
        """What these bytes are: interim heads, the head, body. Raises UpstreamFailed for what is no answer."""
        self.begun = True
        if self._watch is not None:
            body = self._body(data)
            return [body] if body else []
        parts: list[Part] = []
        scanned = len(self._buffer)
        if scanned:
            data = self._buffer + data
        while self.head is None:
            end = find_head_end(data, scanned)
            if end < 0:
                if len(data) > MAX_HEAD_BYTES:
                    raise UpstreamFailed(f"the job's answer has a head of more than {MAX_HEAD_BYTES} bytes")
                if has_bare_newline(data):
                    raise UpstreamFailed("the job's answer: lines must end with CR LF")
                self._buffer = data
                return parts
            block, data = data[:end], data[end:]
            plain = plain_head(block) if self._plain else None
            parts.append(self._take_plain(plain) if plain is not None else self._take_head(parse_response_head(block)))
            scanned = 0
        self._buffer = b""
        if data and (body := self._body(data)):
            parts.append(body)
        return parts

    def end_of_stream(self) -> bool:
        """The sender closed: whether that is the answer's clean end."""
        return self._watch is not None and self._watch.end_of_stream()

    def _take_plain(self, head: PlainHead) -> PlainHead:
        self.head = head
        self.framing = head.framing if self._method != "HEAD" else NO_BODY
        self._watch = BodyWatch(self.framing, padded=True)
        return head

    def _take_head(self, head: ResponseHead) -> ResponseHead:
        if head.status < 200 and head.status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise UpstreamFailed("the job sends nothing but interim answers")
            return head
        self.head = head
        self.framing = response_framing(head, self._method)
        self.tunneled = self.framing.kind is BodyKind.TUNNEL
        self._watch = BodyWatch(self.framing, padded=True)
        return head

    def _body(self, data: bytes) -> bytes:
        assert self._watch is not None
        try:
            taken = self._watch.feed(data)
        except BadBody as error:
            raise UpstreamFailed(f"the job's answer: {error}") from None
        if taken < len(data):
            self.overrun = True
            return data[:taken]
        return data


_ENDS_BY_CLOSE = (BodyKind.UNTIL_CLOSE, BodyKind.TUNNEL)


class _Tunneled(AnswerReader):
    """Of an answer that was a 101 and is over: the same for all, since nothing is read any more."""

    framing = Framing(BodyKind.TUNNEL)
    begun = tunneled = True

    def end_of_stream(self) -> bool:
        return True


TUNNELED = _Tunneled("GET")

"""An answer as it arrives: heads, body, end or cut. The same for a job's bytes and for those of our own handlers.

Pure: bytes in, parts out. upstream.py and web/stand_in.py feed it.
"""

from __future__ import annotations

from prouter.errors import UpstreamFailed
from prouter.http1.framing import NO_BODY, BadBody, BodyKind, BodyWatch, response_framing, wants_close
from prouter.http1.request import find_head_end, has_bare_newline
from prouter.http1.response import MAX_HEAD_BYTES, parse_response_head
from prouter.model.http import ResponseHead

MAX_INTERIM = 16
"""1xx heads before the answer; nobody sends more than two."""

Part = ResponseHead | bytes


class AnswerReader:
    """One answer to a request with `method`.

    What is always true: heads come before the body; nothing comes behind the end; `begun` tells whether any byte came.
    """

    def __init__(self, method: str) -> None:
        self.head: ResponseHead | None = None
        """The final head, once it came."""
        self.framing = NO_BODY
        self.begun = False
        self.overrun = False
        """Bytes came behind the end: the connection is out of step."""
        self._method = method
        self._buffer = bytearray()
        self._watch: BodyWatch | None = None
        self._interim = 0

    @property
    def complete(self) -> bool:
        return self._watch is not None and self._watch.complete

    @property
    def closes(self) -> bool:
        """Whether the connection can not be used again."""
        head = self.head
        return head is None or self.overrun or wants_close(head) or self.framing.kind in _ENDS_BY_CLOSE

    def feed(self, data: bytes) -> list[Part]:
        """What these bytes are: interim heads, the head, body. Raises UpstreamFailed for what is no answer."""
        self.begun = True
        if self._watch is not None:
            body = self._body(data)
            return [body] if body else []
        parts: list[Part] = []
        scanned = len(self._buffer)
        self._buffer += data
        while self.head is None:
            end = find_head_end(self._buffer, scanned)
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise UpstreamFailed(f"the job's answer has a head of more than {MAX_HEAD_BYTES} bytes")
                if has_bare_newline(self._buffer):
                    raise UpstreamFailed("the job's answer: lines must end with CR LF")
                return parts
            parts.append(self._take_head(parse_response_head(self._buffer[:end])))
            del self._buffer[:end]
            scanned = 0
        rest = bytes(self._buffer)
        self._buffer.clear()
        if rest and (body := self._body(rest)):
            parts.append(body)
        return parts

    def end_of_stream(self) -> bool:
        """The sender closed: whether that is the answer's clean end."""
        return self._watch is not None and self._watch.end_of_stream()

    def _take_head(self, head: ResponseHead) -> ResponseHead:
        if head.status < 200 and head.status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise UpstreamFailed("the job sends nothing but interim answers")
            return head
        self.head = head
        self.framing = response_framing(head, self._method)
        self._watch = BodyWatch(self.framing)
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

"""The head of a job's answer: as strict as for requests, since a job may be hostile to its neighbours' clients."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from prouter.errors import UpstreamFailed
from prouter.http1.fields import TOKEN, VALUE, BadFields, checked_fields, parse_fields
from prouter.http1.framing import CHUNKED, NO_BODY, BodyKind, Framing
from prouter.model.http import ResponseHead

MAX_HEAD_BYTES = 65536
MAX_HEADERS = 256
STATUS_LINE = re.compile(rf"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ({VALUE}))?\r\n")
FAST = re.compile(
    rf"(?-i:HTTP)/1\.1 ([2-5][0-9][0-9])(?: ({VALUE}))?\r\n"
    rf"(?:(?!(?:content-length|transfer-encoding|connection|upgrade)\s*:){TOKEN}:{VALUE}\r\n"
    r"|content-length:[ \t]*[0-9]{1,18}[ \t]*\r\n(?!(?:[^\r]*\r\n)*?(?:content-length|transfer-encoding)\s*:))*\r\n",
    re.IGNORECASE,
)
"""At most one plain Content-Length, no coding, nothing about the connection."""
_CHANGED = (
    "content-length|transfer-encoding|connection|upgrade|keep-alive|proxy-connection|proxy-authenticate"
    "|proxy-authorization|te|trailer|http2-settings|location|set-cookie|x-request-id"
)
"""Names of headers that say how an answer is framed, go, or are rewritten on the way (policy.py)."""
_LINE = rf"(?!(?:{_CHANGED})\s*:){TOKEN}:{VALUE}\r\n"
PLAIN = re.compile(
    rf"(?-i:HTTP)/1\.1 ((?:2(?!04)|3(?!04)|[45])[0-9][0-9])(?: {VALUE})?\r\n"
    rf"(?:{_LINE})*"
    rf"(?:content-length:[ \t]*([0-9]{{1,18}})[ \t]*|transfer-encoding:[ \t]*chunked[ \t]*)\r\n"
    rf"(?:{_LINE})*\r\n".encode(),
    re.IGNORECASE,
)
"""One word on how the body ends, and nothing that the policy for answers changes."""


@dataclass(frozen=True, slots=True)
class PlainHead:
    """A final head that the client can have as it came, byte by byte."""

    block: bytes
    """With the empty line."""
    status: int
    framing: Framing
    """Of the answer to anything but HEAD."""

    def parsed(self) -> ResponseHead:
        return parse_response_head(self.block)

    def with_line(self, name: bytes, value: bytes) -> bytes:
        """The block with one line more at its end."""
        return b"".join((self.block[:-2], name, b": ", value, b"\r\n\r\n"))


MAX_KNOWN_BYTES = 2048
"""Of a head that is remembered, to know the next one like it."""
MOST_KNOWN = 256
"""Heads that came last: a job's server begins most of its answers of a second alike."""


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """What is known of an answer that came in one piece: a plain head with a length, and all of its body.

    Most of a server's answers begin with the same bytes: one of the same size with the same head was validated with
    this one, and the same is known of it.
    """

    head: bytes
    size: int
    """Bytes of head and body."""
    status: int
    length: int
    """Bytes of the body."""
    opening: bytes
    """What the client gets before the request's id, which is the last line of the head."""
    rest_at: int
    """Where in the answer begins what it gets behind that: the end of a line, the empty line, the body."""


def whole_answer(data: bytes) -> WholeAnswer | None:
    """What is known of it, where `data` is exactly one such answer to anything but HEAD."""
    end = data.find(b"\r\n\r\n") + 4
    if not 4 <= end <= MAX_KNOWN_BYTES:
        return None
    head = plain_head(data[:end])
    if head is None or head.framing is CHUNKED or end + head.framing.length != len(data):
        return None
    opening = head.block[:-2] + b"X-Request-Id: "
    return WholeAnswer(head.block, len(data), head.status, head.framing.length, opening, end - 4)


def plain_head(block: bytes) -> PlainHead | None:
    """The head in `block`, which ends with the empty line, where it is of that kind; most are."""
    return _known_plain_head(block) if len(block) <= MAX_KNOWN_BYTES else _plain_head(block)


def _plain_head(block: bytes) -> PlainHead | None:
    found = PLAIN.fullmatch(block)
    if found is None or len(block) > MAX_HEAD_BYTES or block.count(b"\n") > MAX_HEADERS:
        return None
    length = found[2]
    if length is None:
        return PlainHead(block, int(found[1]), CHUNKED)
    size = int(length)
    return PlainHead(block, int(found[1]), Framing(BodyKind.LENGTH, size) if size else NO_BODY)


_known_plain_head = lru_cache(MOST_KNOWN)(_plain_head)


def parse_response_head(block: bytes | bytearray) -> ResponseHead:
    """The head in `block`, which ends with the empty line. Raises UpstreamFailed."""
    if len(block) > MAX_HEAD_BYTES:
        raise UpstreamFailed(f"the job's answer has a head of more than {MAX_HEAD_BYTES} bytes")
    return _known_head(bytes(block)) if len(block) <= MAX_KNOWN_BYTES else _head(bytes(block))


def _head(block: bytes) -> ResponseHead:
    text = block.decode("latin-1")
    fast = FAST.fullmatch(text)
    if fast is not None:
        headers = checked_fields(text, text.index("\r\n") + 2)
        if len(headers) <= MAX_HEADERS:
            return ResponseHead(int(fast[1]), (fast[2] or "").strip(), headers)
    return parse_general(text)


_known_head = lru_cache(MOST_KNOWN)(_head)


def parse_general(text: str) -> ResponseHead:
    """The general way. Raises UpstreamFailed."""
    line = STATUS_LINE.match(text)
    if line is None:
        raise UpstreamFailed("the job's answer does not begin with a status line of HTTP/1.1")
    minor, status, reason = line.groups()
    try:
        headers = parse_fields(text, line.end())
    except BadFields as error:
        raise UpstreamFailed(f"the job's answer: {error}") from None
    if len(headers) > MAX_HEADERS:
        raise UpstreamFailed(f"the job's answer has more than {MAX_HEADERS} header lines")
    head = ResponseHead(int(status), (reason or "").strip(), headers, f"1.{minor}")
    _check_framing(head)
    return head


def _check_framing(head: ResponseHead) -> None:
    lengths, codings = head.all("content-length"), head.all("transfer-encoding")
    if codings and (len(codings) != 1 or codings[0].lower() != "chunked" or lengths or head.version == "1.0"):
        raise UpstreamFailed("the job's answer says in two ways how long it is")
    if lengths and (len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0])):
        raise UpstreamFailed("the job's answer has a Content-Length that is not one plain number")

"""The head of a job's answer: as strict as for requests, since a job may be hostile to its neighbours' clients."""

from __future__ import annotations

import re

from prouter.errors import UpstreamFailed
from prouter.http1.fields import TOKEN, VALUE, BadFields, checked_fields, parse_fields
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


def parse_response_head(block: bytes | bytearray) -> ResponseHead:
    """The head in `block`, which ends with the empty line. Raises UpstreamFailed."""
    if len(block) > MAX_HEAD_BYTES:
        raise UpstreamFailed(f"the job's answer has a head of more than {MAX_HEAD_BYTES} bytes")
    text = bytes(block).decode("latin-1")
    fast = FAST.fullmatch(text)
    if fast is not None:
        headers = checked_fields(text, text.index("\r\n") + 2)
        if len(headers) <= MAX_HEADERS:
            return ResponseHead(int(fast[1]), (fast[2] or "").strip(), headers)
    return parse_general(text)


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

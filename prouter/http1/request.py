"""A request's head: found in the buffer, parsed, refused when it could be read in two ways.

One compiled expression validates an ordinary head's lines whole; what it does not match goes the general way, which
parses it or says what is wrong. Both give the same for every head that both take. Clients send the same lines again and
again: what was found about them is remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from prouter.errors import HeadTooLarge, InvalidRequest, RequestError, TargetTooLong
from prouter.http1.fields import TOKEN, VALUE, BadFields, checked_fields, names_in, parse_fields
from prouter.http1.host import valid_host
from prouter.model.http import RequestHead


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """nginx takes 4 buffers of 8 KiB, node 16 KiB, HAProxy 16 KiB; browsers with many cookies send 10 KiB and more."""

    head_bytes: int = 65536
    target_bytes: int = 16384
    header_count: int = 128


_LINE = re.compile(r"([A-Z]+) (/[!-\"$-~]*) HTTP/1\.1\r\n")
_ORDINARY = r"(?!(?:host|content-length|transfer-encoding|upgrade|connection|expect|te|http2-settings)\s*:)" + TOKEN
_FIELDS = re.compile(
    rf"(?:{_ORDINARY}:{VALUE}\r\n)*"
    r"host:[ \t]*([a-z0-9.\-]+(?::[0-9]{1,5})?|\[[0-9a-f:.]+\](?::[0-9]{1,5})?)[ \t]*\r\n"
    rf"(?:{_ORDINARY}:{VALUE}\r\n|connection:[ \t]*keep-alive[ \t]*\r\n)*\r\n",
    re.IGNORECASE,
)
"""No body, one plain Host, nothing that needs a second look."""
REQUEST_LINE = re.compile(rf"({TOKEN}) ([!-~]+) HTTP/1\.([01])\r\n")
NOT_SERVED = ("CONNECT", "TRACE", "PRI")
"""Methods that make no sense here."""
KNOWN_BYTES = 4096
"""Of header lines that are remembered; larger ones are rare, and what they would take is theirs to choose."""
MOST_KNOWN = 512
"""Those that came last."""


def find_head_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """The index behind the empty line that ends a head, or -1. `start`: where to look on, 3 bytes back is done here."""
    found = buffer.find(b"\r\n\r\n", max(0, start - 3))
    return found + 4 if found >= 0 else -1


def check_unfinished(buffer: bytes | bytearray, limits: HeadLimits) -> None:
    """Refuse a head early: too long already, or no HTTP at all. Raises RequestError."""
    if len(buffer) > limits.head_bytes:
        raise _too_long(buffer, limits)
    if b"\n" in buffer[:1] or buffer[:1] in (b"\x16", b"\x00"):
        raise InvalidRequest("Invalid request: this is not HTTP/1.1 (TLS is not spoken here)")
    if has_bare_newline(buffer):
        raise InvalidRequest("Invalid request: lines must end with CR LF")


def has_bare_newline(buffer: bytes | bytearray) -> bool:
    """Whether an LF stands without its CR: the sender may wait for ever for what we will not take as a head's end."""
    return buffer.count(b"\n") != buffer.count(b"\r\n")


def parse_request_head(block: bytes | bytearray, limits: HeadLimits = HeadLimits()) -> RequestHead:
    """The head in `block`, which ends with the empty line. Raises RequestError: 400, 414, 431."""
    if len(block) > limits.head_bytes:
        raise _too_long(block, limits)
    text = bytes(block).decode("latin-1")
    line = _LINE.match(text)
    if line is not None and len(line[2]) <= limits.target_bytes and line[1] not in NOT_SERVED:
        fields = text[line.end() :]
        # what is kept of many short lines is far more than their bytes: those that are too many are not even looked at
        few = fields.count("\n") <= limits.header_count + 1
        first = (_known(fields) if len(fields) <= KNOWN_BYTES else _with_fields(fields)) if few else None
        if first is not None:
            return first.with_line(line[1], line[2])
    return parse_general(text, limits)


def _with_fields(text: str) -> RequestHead | None:
    """Some head of HTTP/1.1 with these header lines, which end with the empty line; None: they are not taken."""
    try:
        fast = _FIELDS.fullmatch(text)
        if fast is not None and valid_host(fast[1]):
            return RequestHead("GET", "/", checked_fields(text, 0))
        head = RequestHead("GET", "/", parse_fields(text, 0))
        _check_fields(head)
    except (BadFields, InvalidRequest):
        return None
    return head


_known = lru_cache(MOST_KNOWN)(_with_fields)


def parse_general(text: str, limits: HeadLimits) -> RequestHead:
    """The general way. Raises RequestError."""
    line = REQUEST_LINE.match(text)
    if line is None:
        raise InvalidRequest(f"Invalid request: {_why_no_line(text)}")
    method, target, minor = line.groups()
    if len(target) > limits.target_bytes:
        raise TargetTooLong(f"the request target is longer than {limits.target_bytes} bytes")
    try:
        headers = parse_fields(text, line.end())
    except BadFields as error:
        raise InvalidRequest(f"Invalid request: {error}") from None
    if len(headers) > limits.header_count:
        raise HeadTooLarge(f"the request has more than {limits.header_count} header lines")
    head = RequestHead(method, target, headers, f"1.{minor}")
    _check_target(head)
    _check_fields(head)
    return _known_method(head)


def _check_fields(head: RequestHead) -> None:
    """What header lines may not say in this version of HTTP, whatever verb and target. Raises InvalidRequest."""
    _check_host(head)
    _check_upgrade(head)
    check_request_framing(head)


def check_request_framing(head: RequestHead) -> None:
    """RFC 9112 6.1, 6.3, stricter: what could be read in two ways is refused. Raises InvalidRequest."""
    lengths, codings = head.all("content-length"), head.all("transfer-encoding")
    if codings:
        if lengths:
            raise InvalidRequest("Invalid request: Content-Length beside Transfer-Encoding")
        if head.version == "1.0":
            raise InvalidRequest("Invalid request: Transfer-Encoding in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != "chunked":
            raise InvalidRequest("Invalid request: of transfer codings only `chunked`, once, is taken")
    if lengths and (len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0])):
        raise InvalidRequest("Invalid request: Content-Length must be one plain number")


def _check_target(head: RequestHead) -> None:
    if head.target.startswith("/"):
        if "#" in head.target:
            raise InvalidRequest("Invalid request: a fragment in the request target")
        return
    if head.target == "*" and head.method == "OPTIONS":
        return
    raise InvalidRequest("Invalid request: the request target must be a path; proxy requests are not served here")


def _check_host(head: RequestHead) -> None:
    hosts = head.all("host")
    if len(hosts) > 1:
        raise InvalidRequest("Invalid request: more than one Host")
    if not hosts and head.version == "1.1":
        raise InvalidRequest("Invalid request: Host is missing")
    if hosts and not valid_host(hosts[0]):
        raise InvalidRequest("Invalid request: Host is no host name")


def _check_upgrade(head: RequestHead) -> None:
    asked = names_in(head.all("upgrade"))
    if "h2c" in asked or any(name.startswith("http/") for name in asked) or head.get("http2-settings") is not None:
        raise InvalidRequest("Invalid request: h2c is not spoken here")
    if head.upgrade:
        if len(head.all("upgrade")) != 1 or "," in head.upgrade:
            raise InvalidRequest("Invalid request: more than one protocol in Upgrade")
        if head.get("transfer-encoding") is not None or head.get("content-length") not in (None, "0"):
            raise InvalidRequest("Invalid request: an Upgrade with a body")
        if head.version == "1.0":
            raise InvalidRequest("Invalid request: an Upgrade in HTTP/1.0")


def _known_method(head: RequestHead) -> RequestHead:
    """CONNECT and TRACE make no sense here; a lower-case method is somebody's trick or mistake."""
    if head.method in NOT_SERVED:
        raise InvalidRequest(f"Invalid request: the method {head.method} is not served here")
    if head.method != head.method.upper():
        raise InvalidRequest("Invalid request: methods are written in capitals")
    return head


def _too_long(block: bytes | bytearray, limits: HeadLimits) -> RequestError:
    line = bytes(block[: limits.target_bytes + 64]).partition(b"\r\n")
    if not line[1]:
        return TargetTooLong(f"the request target is longer than {limits.target_bytes} bytes")
    return HeadTooLarge(f"the request's head is longer than {limits.head_bytes} bytes")


def _why_no_line(text: str) -> str:
    line = text.partition("\r\n")[0]
    if "\n" in line or "\r" in line:
        return "a bare CR or LF stands in the request line"
    if any(not "!" <= character <= "~" for character in line.replace(" ", "")):
        return "the request line has a character that must be percent-encoded"
    return "the request line is none of HTTP/1.0 or HTTP/1.1"

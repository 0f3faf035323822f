"""Answers' heads: as strict as for requests, since a job may be hostile; both forms agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prouter.errors import UpstreamFailed
from prouter.http1.framing import BodyKind, response_framing, wants_close
from prouter.http1.response import MAX_HEAD_BYTES, parse_general, parse_response_head
from prouter.model.http import ResponseHead

NAMES = st.sampled_from(
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Set-Cookie",
        "X-Y",
        "Content-Lengt",
    ]
)
VALUES = st.sampled_from(
    ["0", "5", "5 ", " 7", "+5", "chunked", "gzip", "close", "a=b; Path=/", "", "\xe9", "5, 5", "x y"]
)
FIRST = st.sampled_from(
    [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 204",
        "HTTP/1.1 404 ",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 101 S",
        "http/1.1 200 OK",
        "HTTP/1.1 99 X",
        "HTTP/1.1 600 X",
        "HTTP/1.1 200OK",
        "ICY 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/2 200 OK",
    ]
)


@given(FIRST, st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", " :"]), VALUES), max_size=5))
def test_the_fast_and_the_general_form_agree(first: str, lines: list[tuple[str, str, str]]) -> None:
    block = "\r\n".join([first, *("".join(line) for line in lines), "", ""])
    assert outcome(parse_response_head, block.encode("latin-1")) == outcome(parse_general, block)


def outcome(parse: object, block: object) -> ResponseHead | None:
    assert callable(parse)
    try:
        found = parse(block)
        assert isinstance(found, ResponseHead)
        return found
    except UpstreamFailed:
        return None


REFUSED = {
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n",
    "the same length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "both lengths": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "a signed length": b"Content-Length: +3\r\n",
    "obs-fold": b"X: y\r\n z\r\n",
    "a space before the colon": b"Content-Length : 3\r\n",
    "bare CR": b"X: y\rContent-Length: 3\r\n",
    "bare LF": b"X: y\nContent-Length: 3\r\n",
    "NUL": b"X: \0\r\n",
    "too long": b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n",
    "too many": b"X: y\r\n" * 257,
}


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED)
def test_what_could_be_read_in_two_ways_is_no_answer(lines: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        parse_response_head(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")


@pytest.mark.parametrize(
    ("method", "status", "lines", "kind"),
    [
        ("GET", 200, "Content-Length: 5", BodyKind.LENGTH),
        ("GET", 200, "Content-Length: 0", BodyKind.NONE),
        ("GET", 200, "Transfer-Encoding: Chunked", BodyKind.CHUNKED),
        ("GET", 200, "X: y", BodyKind.UNTIL_CLOSE),
        ("HEAD", 200, "Content-Length: 5", BodyKind.NONE),
        ("HEAD", 200, "Transfer-Encoding: chunked", BodyKind.NONE),
        ("GET", 204, "X: y", BodyKind.NONE),
        ("GET", 204, "Content-Length: 5", BodyKind.NONE),
        ("GET", 304, "Content-Length: 5", BodyKind.NONE),
        ("GET", 103, "Link: </a>", BodyKind.NONE),
        ("GET", 101, "Upgrade: x", BodyKind.TUNNEL),
        ("POST", 205, "Content-Length: 1", BodyKind.LENGTH),
    ],
)
def test_where_an_answers_body_ends(method: str, status: int, lines: str, kind: BodyKind) -> None:
    head = parse_response_head(f"HTTP/1.1 {status} X\r\n{lines}\r\n\r\n".encode())
    assert response_framing(head, method).kind is kind


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        ("1.1", "", False),
        ("1.1", "Close", True),
        ("1.1", "x, close", True),
        ("1.0", "", True),
        ("1.0", "Keep-Alive", False),
    ],
)
def test_who_closes_behind_the_exchange(version: str, connection: str, closes: bool) -> None:
    assert wants_close(ResponseHead(200, "OK", (("Connection", connection),), version)) is closes

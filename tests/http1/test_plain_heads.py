"""An answer's head that passes as it came says what the same head says when it is parsed and written anew."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prouter.http1.framing import response_framing, wants_close
from prouter.http1.policy import forward_response
from prouter.http1.response import MAX_HEADERS, parse_response_head, plain_head
from prouter.model.http import AnswerPolicy

NAMES = st.sampled_from(
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Location",
        "Set-Cookie",
        "X-Request-Id",
        "Date",
        "X-Y",
        "Content-Lengt",
        "te_",
        "Content_Length",
    ]
)
VALUES = st.sampled_from(
    ["0", "5", "5 ", " 7", "+5", "05", "chunked", "Chunked", "gzip", "close", "/x", "", "\xe9", "5, 5", "a\tb"]
)
FIRST = st.sampled_from(
    [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 204 No",
        "HTTP/1.1 304 Not",
        "HTTP/1.1 302 Found",
        "HTTP/1.1 404 ",
        "HTTP/1.1 503 \xe9",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 101 S",
        "http/1.1 200 OK",
        "HTTP/1.1 600 X",
        "HTTP/1.1  200 OK",
    ]
)
BREAKS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "])
POLICY = AnswerPolicy(prefix="/jobs/a/j/http", own_origins=frozenset(("http://127.0.0.1:80",)))


@given(FIRST, st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", " :", ":\t"]), VALUES, BREAKS), max_size=6))
@example("HTTP/1.1 200 OK", [("Content-Length", ": ", "5", "\r\n"), ("Content-Length", ": ", "5", "\r\n")])
@example("HTTP/1.1 200 OK", [("Content-Length", ": ", "5", "\r\n"), ("Transfer-Encoding", ": ", "chunked", "\r\n")])
@example(
    "HTTP/1.1 200 OK", [("Transfer-Encoding", ": ", "chunked", "\r\n"), ("Transfer-Encoding", ":", "chunked", "\r\n")]
)
def test_what_passes_is_what_would_be_written(first: str, lines: list[tuple[str, str, str, str]]) -> None:
    block = (first + "\r\n" + "".join("".join(line) for line in lines) + "\r\n").encode("latin-1")
    plain = plain_head(block)
    if plain is None:
        return
    head = parse_response_head(block)
    assert plain.parsed() == head
    assert plain.status == head.status
    assert plain.framing == response_framing(head, "GET")
    assert not wants_close(head)
    passed = plain.with_line(b"X-Request-Id", b"r-1")
    written = forward_response(
        head, POLICY, framing=plain.framing, keep_alive=True, old_client=False, extra=(("X-Request-Id", "r-1"),)
    )
    assert parse_response_head(passed) == parse_response_head(written)


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nDate: today\r\nContent-Length: 0\r\nServer: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache\r\n\r\n",
        "HTTP/1.1 302 Found\r\nContent-Length: 1\r\n\r\n",
    ],
)
def test_the_usual_ones_pass(head: str) -> None:
    assert plain_head(head.encode()) is not None


@pytest.mark.parametrize(
    "name", ["Location", "set-cookie", "Connection", "KEEP-ALIVE", "Upgrade", "X-Request-Id", "TE"]
)
def test_what_is_rewritten_or_goes_does_not_pass(name: str) -> None:
    for lines in (f"{name}: x\r\nContent-Length: 1", f"Content-Length: 1\r\n{name}:x"):
        assert plain_head(f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode()) is None


def test_a_head_without_a_word_on_its_end_or_of_too_many_lines_does_not_pass() -> None:
    assert plain_head(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n") is None
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(MAX_HEADERS))
    assert plain_head(b"HTTP/1.1 200 OK\r\n" + many + b"Content-Length: 1\r\n\r\n") is None


def test_it_is_found_in_time_whatever_is_sent() -> None:
    """The longest heads of a hostile job: one long line, many lines, lines that almost fit."""
    for filling in (b"X: " + b"a" * 60000, b"\r\n".join([b"Content-Lengt: 5"] * 200), b"X:" + b" " * 60000 + b"\x01"):
        block = b"HTTP/1.1 200 OK\r\n" + filling + b"\r\n\r\n"
        assert plain_head(block) is None
        assert re.match(rb"HTTP", block)

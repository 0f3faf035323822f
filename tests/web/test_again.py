"""A request like the one before it: what is taken for one is exactly what would have been parsed."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prouter.errors import RequestError
from prouter.http1.framing import CHUNKED, NO_BODY, request_framing, wants_close
from prouter.http1.policy import forward_request
from prouter.http1.request import HeadLimits, find_head_end, parse_request_head
from prouter.model.access import Peer
from prouter.model.http import AnswerPolicy, ForwardPlan
from prouter.web.again import MAX_HEAD_BYTES, Again, Alike, learn, learn_kind
from prouter.web.outcomes import Lasting
from prouter.web.unread import Unread, unread

PREFIX = "/jobs/a/j/http"
FIELDS = b" HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n"
FIRST = f"GET {PREFIX}/first?x=1".encode() + FIELDS
POST_FIELDS = FIELDS.replace(b"Accept: */*", b"Content-Length: 12")
POST = f"POST {PREFIX}/first?x=1".encode() + POST_FIELDS
BODY = b"GET / \r\n\r\n" + b"\0y"
"""Twelve bytes that look like a request."""
LIMITS = HeadLimits(target_bytes=100)
PLAN = ForwardPlan("/first?x=1", "127.0.0.1:80", set_headers=(("X-Request-Id", "r-1"), ("X-Forwarded-Host", "h")))


async def never(fresh: bool) -> None:
    raise AssertionError


def learned(block: bytes = FIRST, plan: ForwardPlan = PLAN) -> Again | None:
    head = parse_request_head(block, LIMITS)
    lasting = Lasting(PREFIX, lambda: True, lambda: None)
    request = forward_request(head, plan)
    return learn(block, head, request, "r-1", LIMITS, lasting, AnswerPolicy(), never)  # type: ignore[arg-type]


PIECES = st.lists(
    st.sampled_from(
        [
            "/",
            "a",
            "%2F",
            "..",
            "?",
            "#",
            " ",
            "\t",
            "\r\n",
            "\n",
            "\r",
            "\0",
            "\xe9",
            ";",
            "//",
            "@",
            ":",
            "HTTP/1.1",
            "Host: x",
        ]
    ),
    max_size=8,
).map("".join)


@given(PIECES)
@example("/x HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\nGET /jobs/a/j/http/y")
@example("/x HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 12\r\n\r\nGET /jobs/a/j/http/y")
@example("/" + "a" * 200)
@example("")
@example("x")
def test_what_is_taken_is_what_the_parser_takes_and_is_sent_on_as_it_would_be(rest: str) -> None:
    for first, method, fields in ((FIRST, "GET", FIELDS), (POST, "POST", POST_FIELDS)):
        again = learned(first)
        assert again is not None
        data = f"{method} {PREFIX}".encode() + rest.encode("latin-1") + fields
        found = again.matched(data)
        if found is None:
            continue
        assert find_head_end(data) == len(data)
        head = parse_request_head(data, LIMITS)
        assert again.head_of(found) == head
        plan = ForwardPlan(rest, PLAN.host, set_headers=(("X-Request-Id", "r-2"), ("X-Forwarded-Host", "h")))
        assert again.opening(found) + b"r-2" + again.last == again.request(found, b"r-2") == forward_request(head, plan)


@given(st.binary(max_size=60))
def test_any_other_bytes_are_none(noise: bytes) -> None:
    again = learned()
    assert again is not None
    for data in (noise, FIRST + noise if noise else b"", noise + FIRST if noise else b"", FIRST[:-1], FIRST[1:]):
        assert again.matched(data) is None


@given(st.binary(max_size=40))
def test_a_body_is_what_follows_the_head_to_its_length_and_more_is_none(behind: bytes) -> None:
    again = learned(POST)
    assert again is not None
    assert not again.repeatable
    for body in (behind, BODY, BODY + behind):
        found = again.matched(POST + body)
        assert found == (b"/first?x=1" if len(body) <= 12 else None)
        if found is not None:
            assert again.is_whole(POST + body, found) == (len(body) == 12)
        if len(body) == 12:
            assert (again.head_in(POST + body), again.body_of(POST + body)) == (POST, body)
            assert again.rest_of(POST) == found
    for data in (POST[:-1], POST[1:], POST[:-1] + BODY, behind + POST + BODY if behind else b""):
        assert again.matched(data) is None


def test_a_body_in_chunks_or_of_a_verb_that_has_none_teaches_nothing() -> None:
    for block in (
        POST.replace(b"Content-Length: 12", b"Transfer-Encoding: chunked"),
        POST.replace(b"POST", b"GET"),
        POST.replace(b"POST", b"OPTIONS"),
    ):
        assert learned(block) is None
    assert learned(POST.replace(b"POST", b"GET").replace(b"12", b"0")) is not None


def test_what_the_parser_refuses_is_not_taken() -> None:
    again = learned()
    assert again is not None
    for rest in ("/a b", "/a#b", "/\xe9", "/\0", "/" + "a" * 100):
        data = f"GET {PREFIX}{rest}".encode("latin-1") + FIELDS
        assert again.matched(data) is None
        try:
            parse_request_head(data, LIMITS)
        except RequestError:
            continue
        raise AssertionError(rest)


def test_a_request_with_an_id_of_its_own_or_a_plan_of_another_kind_teaches_nothing() -> None:
    sent = FIRST.replace(b"Accept: */*", b"X-Request-Id: mine")
    assert learned(block=sent) is None
    assert learned(plan=ForwardPlan("/other", "h", set_headers=(("X-Request-Id", "r-1"),))) is None
    assert learned(plan=ForwardPlan("/first?x=1", "r-1", set_headers=(("X-Request-Id", "r-1"),))) is None
    assert learned(plan=ForwardPlan("/first?x=1", "h")) is None


def test_a_plan_may_name_headers_in_any_set() -> None:
    plan = replace(PLAN, drop={"accept"})  # type: ignore[arg-type]
    assert b"Accept" not in forward_request(parse_request_head(FIRST, LIMITS), plan)


def test_what_is_kept_is_bounded_in_number_and_in_size() -> None:
    alike, peer = Alike(3, LIMITS), Peer("127.0.0.1", 1)
    for number in range(5):
        for job in range(2):
            block = f"GET /jobs/a/{job}/http/x HTTP/1.1\r\nHost: h\r\nX-N: {number}\r\n\r\n".encode()
            head = parse_request_head(block, LIMITS)
            lasting = Lasting(f"/jobs/a/{job}/http", lambda: True, lambda: None)
            request = forward_request(head, ForwardPlan("/x", "h", set_headers=(("X-Request-Id", "r-1"),)))
            found = learn(block, head, request, "r-1", LIMITS, lasting, AnswerPolicy(), never)  # type: ignore[arg-type]
            assert found is not None
            alike.keep(found, peer)
            assert alike.find(block, peer) is found
    assert sum(len(known) for known in alike._known.values()) <= 3
    assert learned(block=FIRST.replace(b"Accept: */*", b"Accept: " + b"a" * MAX_HEAD_BYTES)) is None


# --- lines that nobody reads ---

READ = unread(frozenset(("authorization", "origin")))
READ_LINES = [
    b"Authorization: Bearer a",
    b"authorization: Bearer b",
    b"Origin: http://localhost:8080",
    b"Connection: keep-alive",
    b"Connection: close",
    b"TE: trailers",
    b"Expect: 100-continue",
    b"Upgrade: websocket",
]
LENGTH_LINES = [b"Content-Length: 0", b"content-length:5", b"Content-Length: \t007 "]
OTHER_LINES = [
    b"Accept: */*",
    b"accept-language:en",
    b"X-Odd:  two  spaces \t",
    b"X-Odd: again",
    b"X-Latin: \xe9\xff",
    b"X-Empty:",
    b"Authorizations: of another kind",
    b"Cookie: a=b",
]
ODD_LINES = [
    b"Authorization : Bearer c",
    b"Connection: X-Odd",
    b"X_Odd: with an underscore",
    b"Transfer_Encoding: chunked",
    b"X-Request-Id: theirs",
    b"Host: other",
    b"Content-Length:",
    b"Content-Length: 5, 5",
    b"Content-Length: +5",
    b"Content-Length: 1_0",
    b"Content-Length : 5",
    b"Content_Length: 5",
    b"Transfer-Encoding: chunked",
    b" folded",
    b"no colon",
    b"X-Nul: \0",
    b"X-Bare: a\rb",
    b"X-Bare: a\nb",
    b"",
]


@st.composite
def two_requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The same lines that are read in the same order, others between them; now and then one that is odd."""
    read = [b"Host: localhost:8080", *draw(st.lists(st.sampled_from(READ_LINES), max_size=2))]
    method, made = draw(st.sampled_from(["GET", "POST"])), []
    for _ in range(2):
        lines = list(read)
        for line in draw(st.lists(st.sampled_from(OTHER_LINES), max_size=5)):
            lines.insert(draw(st.integers(0, len(lines))), line)
        if method == "POST" or draw(st.booleans()):
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LENGTH_LINES)))
        if draw(st.integers(0, 3)) == 0:
            odd = READ_LINES + ODD_LINES + LENGTH_LINES
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(odd)))
        made.append(block_of(lines, method))
    return made[0], made[1]


@settings(max_examples=300)
@given(two_requests())
def test_other_lines_that_nobody_reads_are_sent_on_as_they_would_have_been(requests: tuple[bytes, bytes]) -> None:
    alike, peer = Alike(8, LIMITS), Peer("127.0.0.1", 1)
    for _ in range(2):
        learn_of(alike, peer, requests[0])
    again, found = known(alike, requests[1] + BODY[:5], peer)
    if again is None:
        again, found = known(alike, requests[1], peer)
    if again is None:
        return
    assert found == b"/first?x=1"
    assert find_head_end(requests[1]) == len(requests[1])
    head = parse_request_head(requests[1], LIMITS)
    assert request_framing(head).length == again.length
    assert request_framing(head) is not CHUNKED
    assert again.repeatable == (head.method == "GET")
    assert not (again.repeatable and again.length)
    assert not head.upgrade
    assert again.closes == wants_close(head)
    assert [head.all(name) for name in READ.names] == [again.head.all(name) for name in READ.names]
    assert same_head(again.request(found, b"r-1"), forward_request(head, PLAN))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("line", [*ODD_LINES, *READ_LINES], ids=repr)
def test_what_is_odd_or_read_is_no_other_line(line: bytes, method: str) -> None:
    """Not beside a kind that is known, and no kind is known by it where what it names is another line."""
    alike, peer = Alike(8, LIMITS), Peer("127.0.0.1", 1)
    plain = [b"Host: localhost:8080", b"X-Odd: a", *(() if method == "GET" else (b"Content-Length: 5",))]
    for _ in range(2):
        learn_of(alike, peer, block_of(plain, method))
    body = b"" if method == "GET" else BODY[:5]
    assert known(alike, block_of(plain, method) + body, peer)[0] is not None
    assert known(alike, block_of([*plain, line], method) + body, peer)[0] is None
    for _ in range(2):
        learn_of(alike, peer, block_of([*plain, line], method))
    again, _ = known(alike, block_of([*plain, line], method) + body, peer)
    assert (again is not None) == (line in READ_LINES)


def test_a_second_length_or_one_of_a_verb_that_has_none_is_no_other_line() -> None:
    alike, peer = Alike(8, LIMITS), Peer("127.0.0.1", 1)
    host, length = b"Host: localhost:8080", b"Content-Length: 5"
    for method in ("GET", "POST"):
        for _ in range(2):
            learn_of(alike, peer, block_of([host], method))
        assert known(alike, block_of([host, b"Content-Length: 0"], method), peer)[0] is not None
        assert (known(alike, block_of([host, length], method), peer)[0] is not None) == (method == "POST")
        assert known(alike, block_of([host, length, length], method), peer)[0] is None
        assert known(alike, block_of([host, length, b"Content-Length: 0"], method), peer)[0] is None


def test_who_reads_the_length_is_asked_about_each() -> None:
    alike, peer, names = Alike(8, LIMITS), Peer("127.0.0.1", 1), unread(frozenset(("content-length",)))
    for _ in range(4):
        learn_of(alike, peer, block_of([b"Host: localhost:8080", b"Content-Length: 5"], "POST"), names=names)
    for lines in ([b"Content-Length: 4"], [b"Content-Length: 5", b"X-Other: line"]):
        for body in (b"", BODY[:4], BODY[:5]):
            assert known(alike, block_of([b"Host: localhost:8080", *lines], "POST") + body, peer)[0] is None


def test_a_request_that_differs_in_what_is_read_is_another_one() -> None:
    alike, peer = Alike(8, LIMITS), Peer("127.0.0.1", 1)
    known = [b"Host: localhost:8080", b"Authorization: Bearer a"]
    for number in range(2):
        learn_of(alike, peer, block_of([*known, b"X-Number: %d" % number]))
    assert alike.find(block_of([*known, b"X-Number: 3"]), peer) is not None
    for other in ([b"Authorization: Bearer b"], [], [b"Authorization: Bearer a", b"Authorization: Bearer a"]):
        assert alike.find(block_of([known[0], *other, b"X-Number: 3"]), peer) is None
    assert alike.find(block_of([*known, b"X-Number: 3"]), Peer("127.0.0.2", 1)) is None
    assert alike.find(block_of([*known, *(b"X-Number: 3" for _ in range(LIMITS.header_count))]), peer) is None


def block_of(lines: list[bytes], method: str = "GET") -> bytes:
    return b"".join(line + b"\r\n" for line in (f"{method} {PREFIX}/first?x=1 HTTP/1.1".encode(), *lines, b""))


def known(alike: Alike, data: bytes, peer: Peer) -> tuple[Again, bytes] | tuple[None, None]:
    """What is known of a request that begins with this, and the rest of its target."""
    again = alike.find(data, peer)
    rest = again.matched(data) if again is not None else None
    return (again, rest) if again is not None and rest is not None else (None, None)


def learn_of(alike: Alike, peer: Peer, block: bytes, limits: HeadLimits = LIMITS, names: Unread = READ) -> None:
    """As a connection does, of a request that went the whole way."""
    try:
        head = parse_request_head(block, LIMITS)
    except RequestError:
        return
    if head.upgrade or (head.method == "GET" and request_framing(head) is not NO_BODY):
        return
    lasting = Lasting(PREFIX, lambda: True, lambda: None, unread=names)
    read = alike.kind_to_learn(block, names, peer)
    if read is not None:
        kind = learn_kind(read, names, head, head, PLAN, "r-1", limits, lasting, never)  # type: ignore[arg-type]
        if kind is not None:
            alike.keep_kind(kind, names, peer)


def same_head(one: bytes, other: bytes) -> bool:
    """Whether a server reads the same: the order of lines of one name counts, that of others does not."""
    (first, *lines), (second, *others) = one.split(b"\r\n"), other.split(b"\r\n")
    named, named_others = ([(*_parts(line),) for line in some if line] for some in (lines, others))
    return first == second and sorted(named, key=itemgetter(0)) == sorted(named_others, key=itemgetter(0))


def _parts(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


@pytest.mark.parametrize(
    "block",
    [
        f"GET {PREFIX}/first?x=1 HTTP/1.0\r\nAuthorization: a\r\nX-A: b HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        f"GET {PREFIX}/first?x=1 HTTP/1.0\r\nHost: localhost:8080\r\nX-A: b HTTP/1.1\r\n\r\n",
        f"GET {PREFIX}/a:b?x=1 HTTP/1.0\r\nHost: localhost:8080\r\n\r\n",
    ],
)
def test_no_line_but_the_first_says_which_version_it_is(block: str) -> None:
    """What stands before it would count for nothing: credentials, for instance."""
    alike, peer = Alike(8, LIMITS), Peer("127.0.0.1", 1)
    for _ in range(2):
        learn_of(alike, peer, block.encode())
    assert not alike._kinds
    assert alike.find(block_of([b"Host: localhost:8080"]), peer) is None
    assert alike.find(block_of([]), peer) is None


def test_what_is_no_line_is_looked_at_once() -> None:
    head = b"GET /x HTTP/1.1\r\n" + b"a" * 1_000_000 + b"\r\n\r\n"
    assert READ.split(head, 17, len(head), 100) is None


def test_heads_stay_within_their_limit_however_they_are_shared() -> None:
    limits = HeadLimits(head_bytes=300, target_bytes=200)
    alike, peer = Alike(8, limits), Peer("127.0.0.1", 1)
    for _ in range(2):
        learn_of(alike, peer, block_of([b"Host: localhost:8080"]), limits)
    for size in range(150, 300):
        data = block_of([b"Host: localhost:8080", b"X: " + b"x" * size])
        assert (known(alike, data, peer)[0] is not None) == (len(data) <= 300)

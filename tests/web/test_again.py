"""A request like the one before it: what is taken for one is exactly what would have been parsed."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from prouter.errors import RequestError
from prouter.http1.policy import forward_request
from prouter.http1.request import HeadLimits, find_head_end, parse_request_head
from prouter.model.access import Peer
from prouter.model.http import AnswerPolicy, ForwardPlan
from prouter.web.again import MAX_HEAD_BYTES, Again, Alike, learn
from prouter.web.outcomes import Lasting

PREFIX = "/jobs/a/j/http"
FIELDS = b" HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n"
FIRST = f"GET {PREFIX}/first?x=1".encode() + FIELDS
LIMITS = HeadLimits(target_bytes=100)
PLAN = ForwardPlan("/first?x=1", "127.0.0.1:80", set_headers=(("X-Request-Id", "r-1"), ("X-Forwarded-Host", "h")))


async def never(fresh: bool) -> None:
    raise AssertionError


def learned(block: bytes = FIRST, plan: ForwardPlan = PLAN) -> Again | None:
    head = parse_request_head(block, LIMITS)
    lasting = Lasting(PREFIX, lambda: True, lambda: None)
    request = forward_request(head, plan)
    return learn(block, head, request, "r-1", LIMITS.target_bytes, lasting, AnswerPolicy(), never)  # type: ignore[arg-type]


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
@example("/" + "a" * 200)
@example("")
@example("x")
def test_what_is_taken_is_what_the_parser_takes_and_is_sent_on_as_it_would_be(rest: str) -> None:
    again = learned()
    assert again is not None
    data = f"GET {PREFIX}".encode() + rest.encode("latin-1") + FIELDS
    found = again.matched(data)
    if found is None:
        return
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


def test_what_is_kept_is_bounded_in_number_and_in_size() -> None:
    alike, peer = Alike(3), Peer("127.0.0.1", 1)
    for number in range(5):
        for job in range(2):
            block = f"GET /jobs/a/{job}/http/x HTTP/1.1\r\nHost: h\r\nX-N: {number}\r\n\r\n".encode()
            head = parse_request_head(block, LIMITS)
            lasting = Lasting(f"/jobs/a/{job}/http", lambda: True, lambda: None)
            request = forward_request(head, ForwardPlan("/x", "h", set_headers=(("X-Request-Id", "r-1"),)))
            found = learn(block, head, request, "r-1", 100, lasting, AnswerPolicy(), never)  # type: ignore[arg-type]
            assert found is not None
            alike.keep(found, peer)
            assert alike.find(block, peer) is found
    assert sum(len(known) for known in alike._known.values()) <= 3
    assert learned(block=FIRST.replace(b"Accept: */*", b"Accept: " + b"a" * MAX_HEAD_BYTES)) is None

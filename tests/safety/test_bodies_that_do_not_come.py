"""A JSON body that was announced: refused at once when it would be too long, not waited for without end."""

from __future__ import annotations

import pytest
import raw

from prouter.testing import Fleet


def test_what_is_announced_too_long_is_refused_before_it_is_sent(fleet: Fleet) -> None:
    """Who asks with Expect gets no 100 Continue, either."""
    router = fleet.router("limits.json_body_bytes=2000")
    for length in ("2001", "10000000000"):
        for more in ((), ("Expect: 100-continue",)):
            answer = raw.ask(
                router.address("control"), "POST", "/jobs/create", f"Content-Length: {length}", *more, body=""
            )
            assert answer.status == 413
            assert answer.problem["type"] == "urn:prouter:too-large"


@pytest.mark.parametrize("length", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_a_request_timeout(fleet: Fleet, length: str) -> None:
    router = fleet.router("timeouts.body=0.2")
    answer = raw.ask(router.address("control"), "POST", "/jobs/create", length)
    assert answer.status == 408
    assert answer.problem["type"] == "urn:prouter:too-slow"
    assert raw.ask(router.address("control"), "GET", "/healthz").status == 200

"""What a page in somebody's browser may not do: hosts, origins, fetch sites and content types in a table."""

from __future__ import annotations

import pytest

from prouter.errors import Forbidden, ProuterError, UnsupportedMediaType
from prouter.model.http import RequestHead
from prouter.web.browser import guard_change, host_is_ours

OWN = frozenset(("http://localhost:8080",))


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("LOCALHOST:1", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("lab.example.org", True),
        ("evil.example.org", False),
        ("127.0.0.1.nip.io:8080", False),
        ("localhost.", False),
        ("0.0.0.0:8080", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_hosts_on_loopback(host: str, ours: bool) -> None:
    assert host_is_ours(host, {"lab.example.org"}, wildcard=False) is ours


@pytest.mark.parametrize(
    ("host", "ours"), [("10.0.0.1:80", True), ("[fe80::1]", True), ("0.0.0.0:80", False), ("evil.org", False)]
)
def test_on_a_wildcard_address_ip_literals_are_ours(host: str, ours: bool) -> None:
    assert host_is_ours(host, set(), wildcard=True) is ours


def post(**headers: str) -> RequestHead:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RequestHead("POST", "/jobs/create", (("Host", "localhost:8080"), *named))


JSON = {"Content_Type": "application/json", "Content_Length": "2"}
TEXT = {"Content_Type": "text/plain", "Content_Length": "2"}


@pytest.mark.parametrize(
    "head",
    [
        post(),
        post(**TEXT),
        post(Origin="http://localhost:8080", **JSON),
        post(Sec_Fetch_Site="same-origin", **JSON),
        post(Sec_Fetch_Site="none"),
        post(Origin="http://localhost:8080", Sec_Fetch_Site="same-origin"),
    ],
)
def test_programs_and_our_own_pages_may(head: RequestHead) -> None:
    guard_change(head, OWN)


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (post(Origin="http://evil.org", **JSON), Forbidden),
        (post(Origin="null", **JSON), Forbidden),
        (post(Origin="http://localhost:8081"), Forbidden),
        (post(Origin="https://localhost:8080"), Forbidden),
        (post(Sec_Fetch_Site="cross-site", **JSON), Forbidden),
        (post(Sec_Fetch_Site="same-site", **JSON), Forbidden),
        (post(Sec_Fetch_Site="", **JSON), Forbidden),
        (post(Origin="http://localhost:8080", Sec_Fetch_Site="cross-site"), Forbidden),
        (post(Sec_Fetch_Site="same-origin", **TEXT), UnsupportedMediaType),
        (post(Origin="http://localhost:8080", Content_Length="3"), UnsupportedMediaType),
        (post(Origin="http://localhost:8080", Transfer_Encoding="chunked"), UnsupportedMediaType),
    ],
)
def test_foreign_pages_and_simple_bodies_may_not(head: RequestHead, error: type[ProuterError]) -> None:
    with pytest.raises(error):
        guard_change(head, OWN)


def test_bytes_are_sent_as_octet_stream() -> None:
    guard_change(post(Origin="http://localhost:8080", Content_Type="application/octet-stream", Content_Length="2"), OWN)

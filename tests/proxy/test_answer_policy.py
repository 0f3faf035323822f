"""What an answer looks like when the client gets it."""

from __future__ import annotations

import pytest
from proxied import Proxied


def answer_with(*lines: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""))
    return head.encode("latin-1") + body


async def said(job: Proxied, data: bytes, **how: str):
    job.says("answer", data)
    return await job.ask("/say/answer?then=keep", **how)


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("/x?y#z", "{prefix}/x?y#z"),
        ("http://127.0.0.1:{port}/x", "{prefix}/x"),
        ("http://127.0.0.1:{port}", "{prefix}/"),
        ("http://127.0.0.1:{port}?q", "{prefix}/?q"),
        ("HTTP://localhost:{port}/x", "{prefix}/x"),
        ("{prefix}/x", "{prefix}/x"),
        ("{prefix}", "{prefix}"),
        ("{prefix}er/x", "{prefix}{prefix}er/x"),
        ("x/y", "x/y"),
        ("?q", "?q"),
        ("", ""),
        ("//example.org/x", "//example.org/x"),
        ("/\\example.org/x", "/\\example.org/x"),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x"),
        ("http://127.0.0.1:{port}@example.org/", "http://127.0.0.1:{port}@example.org/"),
        ("http://127.0.0.1:{port}.example.org/", "http://127.0.0.1:{port}.example.org/"),
        ("https://example.org/x", "https://example.org/x"),
        ("mailto:a@b", "mailto:a@b"),
    ],
)
async def test_a_location_is_rewritten_only_where_it_points_to_the_job(job: Proxied, sent: str, arrives: str) -> None:
    facts = {"prefix": job.prefix, "port": job.port}
    answer = await said(job, answer_with("Location: " + sent.format(**facts), status="302 Found"))
    assert answer.status == 302  # and not followed
    assert answer.get("location") == arrives.format(**facts)


async def test_cookies_count_for_the_jobs_path_only_and_stay_two(job: Proxied) -> None:
    cookies = ["a=1; Path=/; HttpOnly", "b=2", "c=3; domain=example.org; PATH=/x; Secure", f"d=4; Path={job.prefix}/y"]
    answer = await said(job, answer_with(*(f"Set-Cookie: {cookie}" for cookie in cookies)))
    assert answer.all("set-cookie") == [
        f"a=1; Path={job.prefix}/; HttpOnly",
        f"b=2; Path={job.prefix}/",
        f"c=3; Path={job.prefix}/x; Secure",
        f"d=4; Path={job.prefix}/y",
    ]


async def test_hop_by_hop_headers_end_here_and_all_others_pass(job: Proxied) -> None:
    gone = ["Keep-Alive: timeout=5", "X-Hop: 1", "Proxy-Authenticate: Basic", "Upgrade: h2c"]
    stay = [("x-two", "a"), ("x-two", "b"), ("cache-control", "no-store"), ("etag", '"\xe9"'), ("server", "own")]
    lines = [f"{name}: {value}" for name, value in stay]
    answer = await said(job, answer_with("Connection: keep-alive, x-hop", *gone, *lines, body=b"ok"))
    assert [line for line in answer.lines if line[0] in dict(stay)] == stay
    assert not {name for name, _ in answer.lines} & {
        "keep-alive",
        "x-hop",
        "proxy-authenticate",
        "upgrade",
        "connection",
    }
    assert answer.body == b"ok"


async def test_a_body_is_never_coded_anew(job: Proxied) -> None:
    body = bytes(range(256))
    answer = await said(job, answer_with("Content-Encoding: gzip", body=body))
    assert (answer.get("content-encoding"), answer.body) == ("gzip", body)


async def test_answers_without_a_body_keep_the_connection_in_step(job: Proxied) -> None:
    """HEAD with a length, 204, 304: nothing follows, whatever the head says, and the next answer is the next one."""
    job.says("head", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    job.says("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    job.says("204", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")
    job.says("304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n")
    async with job.wired() as wire:
        for name, method in (("head", "HEAD"), ("chunked", "HEAD"), ("204", "GET"), ("304", "GET")):
            await wire.send(job.request(f"/say/{name}?then=keep", method=method))
            answer = await wire.answer(method=method)
            assert answer.status == (int(name) if name.isdigit() else 200)
            assert answer.get("connection") is None
            assert answer.get("content-length") == {"head": "1000", "304": "7"}.get(name)
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")


async def test_interim_answers_and_a_body_that_waits_for_its_100(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(job.request("/expect", "Expect: 100-continue", "Content-Length: 4", method="POST"))
        hints, go_on = await wire.head(), await wire.head()
        assert (hints.status, hints.get("link"), go_on.status) == (103, "</a.css>", 100)
        await wire.send(b"body")
        assert (await wire.answer()).body == b"body"
        await wire.send(job.request("/after"))
        assert (await wire.answer()).status == 200


async def test_a_client_of_http_1_0_gets_no_interim_answer_and_no_chunks(job: Proxied) -> None:
    job.says("answer", b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS)
    async with job.wired() as wire:
        await wire.send(job.request("/say/answer?then=keep", version="1.0"))
        head = await wire.head()
        assert (head.status, head.get("transfer-encoding"), head.get("connection")) == (200, None, "close")
        assert await wire.rest() == (b"hello world", "end")


CHUNKS = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n"


async def test_chunks_extensions_and_trailers_pass_both_ways_as_they_came(job: Proxied) -> None:
    job.says("answer", b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS)
    async with job.wired() as wire:
        await wire.send(job.request("/say/answer?then=keep", "TE: trailers"))
        assert (await wire.head()).get("trailer") == "X-Sum"
        assert await wire.exactly(len(CHUNKS)) == CHUNKS
        body = b"3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n"
        await wire.send(job.request("/post", "Transfer-Encoding: chunked", method="POST") + body)
        assert (await wire.answer()).status == 200
        await wire.send(job.request("/after"))
        assert (await wire.answer()).status == 200
    assert any(b"3\r\nabc\r\n0\r\n" in heard for heard in job.heard)


@pytest.mark.parametrize("first", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_an_answer_without_a_length_ends_when_the_job_closes(job: Proxied, first: bytes) -> None:
    job.says("answer", first + b"X: y\r\n\r\nall of it")
    async with job.wired() as wire:
        await wire.send(job.request("/say/answer?then=close"))
        assert (await wire.head()).get("connection") == "close"
        assert await wire.rest() == (b"all of it", "end")


async def test_an_answer_of_http_1_0_with_a_length_leaves_the_client_its_connection(job: Proxied) -> None:
    job.says("answer", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    async with job.wired() as wire:
        for _ in range(2):
            await wire.send(job.request("/say/answer?then=close"))
            assert (await wire.answer()).body == b"ok"


async def test_events_arrive_when_they_are_sent(make_job) -> None:
    job = make_job()
    async with job.wired() as wire:
        await wire.send(job.request("/events", "Accept: text/event-stream"))
        assert (await wire.head()).get("content-type") == "text/event-stream"
        assert await wire.exactly(11) == b"data: one\n\n"
        (job.sandbox / "go").touch()
        assert await wire.rest() == (b"data: two\n\n", "end")

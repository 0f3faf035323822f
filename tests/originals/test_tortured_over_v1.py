"""What the old protocol carries of HTTP, byte by byte at both ends; and what becomes of the rest, as the docs say."""

from __future__ import annotations

import hashlib
import re

import pytest
from any_order import SAID, to_router
from tortured import OnV1
from wire import Answer, Wire

from prouter.testing import eventually

MIB = 1024 * 1024
CHUNKS = b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Sum: 5\r\n\r\n"


async def told(wire: Wire, method: str = "GET") -> Answer:
    """The next answer with its payload: bodies are chunked on this way."""
    head = await wire.head()
    if head.get("transfer-encoding") is None:
        size = 0 if method == "HEAD" or head.status in (204, 304) else int(head.get("content-length") or 0)
        return Answer(head.status, head.lines, await wire.exactly(size))
    body = b""
    while size := int(await wire.reader.readline(), 16):
        body += await wire.exactly(size)
        assert await wire.exactly(2) == b"\r\n"
    assert await wire.exactly(2) == b"\r\n"
    return Answer(head.status, head.lines, body)


async def ask(job: OnV1, rest: str, *lines: str, method: str = "GET", body: bytes = b"") -> Answer:
    async with job.wired() as wire:
        await wire.send(job.request(rest, *lines, method=method) + body)
        return await told(wire, method)


@pytest.mark.parametrize(
    ("rest", "arrives"),
    [
        ("/a@b;c=d,e!$&'()*+", "/a@b;c=d,e!$&'()*+"),
        ("/%C3%A9/%25/%20x", "/%C3%A9/%25/%20x"),
        ("//a///b//", "//a///b//"),
        ("/a?", "/a"),
        ("/?q=a%26b&empty=&x=1&x=2", "/?q=a%26b&empty=&x=1&x=2"),
        ("/http/port/x/jobs/info", "/http/port/x/jobs/info"),
        ("/a%2Fb", "/a/b"),
        ("/%00", "/%00"),
        ("/a/../b/./c", "/b/c"),
    ],
)
async def test_paths_and_queries_arrive_decoded_and_spelled_anew(v1_job: OnV1, rest: str, arrives: str) -> None:
    assert (await ask(v1_job, rest)).body.partition(b" HTTP/1.1\r\n")[0].decode() == f"GET {arrives}"


async def test_what_is_no_utf_8_is_501_and_never_asked(v1_job: OnV1) -> None:
    before = v1_job.heard
    for rest in ("/%ff", "/?x=%ff"):
        assert (await ask(v1_job, rest)).status == 501
    assert v1_job.heard == before


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_any_verb_with_and_without_a_body(v1_job: OnV1, method: str) -> None:
    for line, body in (("X: y", b""), ("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", CHUNKS)):
        answer = await ask(v1_job, "/x", line, method=method, body=body)
        assert answer.body.startswith(f"{method} /x HTTP/1.1\r\n".encode())
        assert (b"hello" in answer.body) == bool(body)
        assert b"X-Sum" not in answer.body  # trailers end here


async def test_a_verb_that_nobody_registered_is_501_each_time(v1_job: OnV1) -> None:
    async with v1_job.wired() as wire:
        for _ in range(3):
            await wire.send(v1_job.request("/x", method="FROBNICATE"))
            answer = await told(wire)
            assert (answer.status, answer.get("content-type")) == (501, "application/problem+json")
            await wire.send(v1_job.request("/x", method="PROPFIND"))
            assert (await told(wire)).body.startswith(b"PROPFIND /x ")


async def test_answers_without_a_body_keep_the_connection_in_step(v1_job: OnV1) -> None:
    v1_job.says("head", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: x\r\n\r\n")
    v1_job.says("204", SAID["204"])
    v1_job.says("304", SAID["304"])
    async with v1_job.wired() as wire:
        for name, method, status, length in (
            ("head", "HEAD", 200, "1000"),
            ("204", "GET", 204, None),
            ("304", "GET", 304, "9"),
        ):
            await wire.send(v1_job.request(f"/say/{name}?then=keep", method=method))
            answer = await wire.head()
            assert (answer.status, answer.get("content-length")) == (status, length)
        await wire.send(v1_job.request("/after"))
        assert (await told(wire)).body.startswith(b"GET /after ")


async def test_two_cookies_and_a_redirect_that_the_agent_follows_itself(v1_job: OnV1) -> None:
    cookies = b"Set-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2\r\n"
    v1_job.says("cookies", b"HTTP/1.1 200 OK\r\n" + cookies + b"Content-Length: 2\r\n\r\nok")
    v1_job.says("moved", b"HTTP/1.1 302 Found\r\nLocation: /landed?x\r\nContent-Length: 0\r\n\r\n")
    answer = await ask(v1_job, "/say/cookies?then=keep")
    assert answer.all("set-cookie") == [f"a=1; Path={v1_job.prefix}/; HttpOnly", f"b=2; Path={v1_job.prefix}/"]
    assert (answer.get("content-length"), answer.body) == (None, b"ok")
    moved = await ask(v1_job, "/say/moved?then=keep", method="POST")
    assert moved.body.startswith(b"GET /landed?x")
    v1_job.says("elsewhere", b"HTTP/1.1 201 Made\r\nLocation: /made\r\nContent-Length: 0\r\n\r\n")
    assert (await ask(v1_job, "/say/elsewhere?then=keep")).get("location") == f"{v1_job.prefix}/made"


@pytest.mark.parametrize("name", ["chunked", "interim", "until-close", "http-1.0", "http-1.0 with a length"])
async def test_answers_in_every_framing_arrive_whole_without_what_is_about_them(v1_job: OnV1, name: str) -> None:
    """Without trailers and interim answers, too."""
    said = SAID | {
        "http-1.0": b"HTTP/1.0 200 OK\r\n\r\nabcde",
        "http-1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
    }
    v1_job.says("answer", said[name])
    async with v1_job.wired() as wire:
        for _ in range(2):
            await wire.send(v1_job.request("/say/answer?then=close", "TE: trailers"))
            answer = await told(wire)
            assert (answer.status, answer.get("connection")) == (200, None)
            assert answer.body == {"interim": b"ok", "until-close": b"all of it"}.get(name, b"abcde")
            assert not {"x-sum", "link", "trailer"} & {name for name, _ in answer.lines}


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("name", ["length-cut", "chunks-cut"])
async def test_a_cut_answer_is_one(v1_job: OnV1, name: str, then: str) -> None:
    v1_job.says("answer", SAID[name])
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request(f"/say/answer?then={then}"))
        data, _ = await wire.rest()
        assert data.startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 502 "))
        assert not data.endswith(b"0\r\n\r\n")


async def test_a_job_without_an_answer_is_502_and_asked_once(v1_job: OnV1) -> None:
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request("/mute/once", method="POST"))
        assert (await told(wire)).status == 502
        await wire.send(v1_job.request("/after"))
        assert (await told(wire)).status == 200
    assert sum(heard.count(b"/mute/once ") for heard in v1_job.heard) == 1


async def test_leave_to_send_is_the_routers_to_give(v1_job: OnV1) -> None:
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request("/x", "Expect: 100-continue", "Content-Length: 4", method="POST"))
        assert (await wire.head()).status == 100
        await wire.send(b"body")
        answer = await told(wire)
        assert answer.body.endswith(b"body")
        assert b"expect:" not in answer.body.lower()


async def test_an_answer_that_comes_before_the_body_was_read(v1_job: OnV1) -> None:
    v1_job.says("refused", SAID["refused"])
    size = 8 * MIB
    async with v1_job.wired() as wire:
        wire.writer.write(v1_job.request("/say/refused?then=hang", f"Content-Length: {size}", method="POST"))
        wire.writer.write(bytes(size))
        answer = await told(wire)
        assert (answer.status, answer.body) == (413, b"no")


async def test_large_bodies_both_ways_are_whole(v1_job: OnV1) -> None:
    size = 16 * MIB
    part = bytes(range(256)) * 256
    digest = hashlib.sha256(part * (size // len(part))).hexdigest()
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request(f"/sink?bytes={size}", f"Content-Length: {size}", method="POST"))
        for _ in range(size // len(part)):
            await wire.send(part)
        assert (await told(wire)).body.decode() == digest
        await wire.send(v1_job.request(f"/big?bytes={size}"))
        assert (await told(wire)).body == b"x" * size


async def test_events_are_passed_on_as_they_come_and_a_client_that_leaves_is_seen_to(v1_job: OnV1) -> None:
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request("/events"))
        assert (await wire.head()).get("content-type") == "text/event-stream"
        assert await wire.exactly(16) == b"b\r\ndata: one\n\n\r\n"
        (v1_job.sandbox / "go").touch()
        assert await wire.exactly(16) == b"b\r\ndata: two\n\n\r\n"
    v1_job.says("begun", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    (v1_job.sandbox / "gone").unlink(missing_ok=True)
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request("/say/begun?then=hang"))
        assert (await wire.head()).status == 200
        wire.reset()
    await eventually(lambda: (v1_job.sandbox / "gone").exists(), seconds=5)


async def test_requests_of_all_kinds_pipelined_and_byte_by_byte(v1_job: OnV1) -> None:
    path = v1_job.info["path"]
    asked = [
        (to_router(v1_job, "GET /info"), b'{"auth"'),
        (v1_job.request("/one"), b"GET /one "),
        (to_router(v1_job, f"GET {path}/info"), b'{"uid"'),
        (v1_job.request("/two", "Content-Length: 5", method="POST") + b"hello", b"POST /two "),
        (to_router(v1_job, "GET /nothing"), b'{"type": "urn:prouter:'),
        (v1_job.request("/three", "Transfer-Encoding: chunked", method="PUT") + CHUNKS, b"PUT /three "),
        (to_router(v1_job, f"POST {path}/file/up", "Content-Length: 2") + b"up", b""),
        (to_router(v1_job, f"GET {path}/file/up"), b"up"),
    ]
    async with v1_job.wired() as wire:
        await wire.send(b"\r\n".join(request for request, _ in asked))
        for _, begin in asked:
            assert (await told(wire)).body.startswith(begin)
        for request, begin in asked:
            for number in range(len(request)):
                await wire.send(request[number : number + 1])
            assert (await told(wire)).body.startswith(begin)


UPGRADE = ("Connection: Upgrade", "Upgrade: torture")


async def test_another_protocol_is_not_spoken_and_the_request_is_one_like_others(v1_job: OnV1) -> None:
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request("/x", *UPGRADE))
        answer = await told(wire)
        assert answer.status == 200
        assert not re.search(rb"\r\n(upgrade|connection):", answer.body.lower())
        await wire.send(v1_job.request("/after"))
        assert (await told(wire)).status == 200


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"X: y", b"Connection: Upgrade\r\nUpgrade: h2c", 400),
        (b"X: y", b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        (b"GET /", b"CONNECT /", 400),
        (b" HTTP/1.1", b"x" * 20_000 + b" HTTP/1.1", 414),
    ],
)
async def test_what_is_refused_is_refused_here_too(v1_job: OnV1, old: bytes, new: bytes, status: int) -> None:
    before = v1_job.heard
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request("/x", "X: y").replace(old, new))
        answer = await told(wire)
        assert (answer.status, answer.get("connection")) == (status, "close")
        assert await wire.rest() == (b"", "end")
    assert v1_job.heard == before

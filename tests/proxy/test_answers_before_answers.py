"""Interim answers, and bodies that wait for leave: whoever refuses one leaves the connection in step or closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from proxied import Proxied

from prouter.testing import eventually

EXPECT = "Expect: 100-continue"
INTERIM = (
    b"HTTP/1.1 102 Processing\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
    b"HTTP/1.1 199 Odd\r\nX: y\r\n\r\n"
)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "FROBNICATE"])
async def test_any_interim_answers_pass_with_their_headers(job: Proxied, method: str) -> None:
    job.says("interim", INTERIM + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + b"ok" * (method != "HEAD"))
    async with job.wired() as wire:
        await wire.send(job.request("/say/interim?then=keep", "Content-Length: 0", method=method))
        found = [await wire.head() for _ in range(3)]
        assert [head.status for head in found] == [102, 103, 199]
        assert (found[1].all("link"), found[2].get("x")) == (["</a>", "</b>"], "y")
        assert not any(head.get("content-length") or head.get("connection") for head in found)
        answer = await wire.answer(method=method)
        assert (answer.status, answer.get("content-length")) == (200, "2")
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")


@pytest.mark.parametrize("line", ["Content-Length: 4", "Transfer-Encoding: chunked"])
async def test_a_body_that_waited_and_is_not_wanted_is_never_taken_for_a_request(job: Proxied, line: str) -> None:
    """Nobody knows whether it comes still: the connection ends behind the answer."""
    async with job.wired() as wire:
        await wire.send(job.request("/final", EXPECT, line, method="POST"))
        answer = await wire.answer()
        assert (answer.status, answer.body, answer.get("connection")) == (417, b"no", "close")
        await wire.send(job.request("/not-a-request"))
        assert (await wire.rest())[0] == b""
    assert (await job.ask("/after")).status == 200
    assert not any(b"/not-a-request" in heard for heard in job.heard)


async def test_a_body_that_does_not_wait_for_a_job_that_says_nothing(job: Proxied) -> None:
    body = b"4\r\nbody\r\n0\r\n\r\n"
    async with job.wired() as wire:
        await wire.send(job.request("/silent", EXPECT, "Transfer-Encoding: chunked", method="POST"))
        await eventually(lambda: any(b"/silent " in heard for heard in job.heard))
        await wire.send(body)
        answer = await wire.answer()
        assert answer.body.endswith(b"\r\n\r\n" + body)
        assert b"Expect: 100-continue\r\n" in answer.body
        await wire.send(job.request("/after"))
        assert (await wire.answer()).status == 200


async def test_an_upload_to_the_router_is_given_leave_or_refused_before_it_comes(
    make_job: Callable[..., Proxied],
) -> None:
    job = make_job()
    host = "Host: {}:{}".format(*job.router.address("control"))

    def upload(path: str, size: int) -> bytes:
        lines = (f"POST {path} HTTP/1.1", host, EXPECT, f"Content-Length: {size}", "", "")
        return "\r\n".join(lines).encode()

    async with job.wired() as wire:
        await wire.send(upload(f"{job.info['path']}/file/new", 4))
        assert (await wire.head()).status == 100
        await wire.send(b"body")
        assert (await wire.answer()).status == 200
        assert (job.sandbox / "new").read_bytes() == b"body"
        await wire.send(upload(f"/jobs/{'0' * 32}/file/new", 4))
        answer = await wire.answer()
        assert (answer.status, answer.get("connection")) == (404, "close")
        await wire.send(job.request("/not-a-request"))
        assert (await wire.rest())[0] == b""
    assert not any(b"/not-a-request" in heard for heard in job.heard)


async def test_an_upload_of_any_size_to_a_job_that_is_not_there_is_answered(job: Proxied) -> None:
    size = 32 * 1024 * 1024
    async with job.wired() as wire:
        wire.writer.write(job.request("/x", f"Content-Length: {size}", method="PUT").replace(b"/http/", b"0/http/"))
        wire.writer.write(bytes(size))
        answer = await wire.answer()
        assert (answer.status, answer.get("connection")) == (404, "close")
        assert (await wire.rest())[0] == b""

"""What could be read in two ways is 400 and the end of the connection, and nothing of it arrives at a job."""

from __future__ import annotations

import asyncio

import pytest
from proxied import Proxied, joined

from prouter.testing import eventually

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
LENGTH = "Content-Length: 5"


def altered(job: Proxied, old: bytes, new: bytes, *lines: str) -> bytes:
    request = job.request("/x", "X-Line: y", *lines, method="POST")
    assert old in request
    return request.replace(old, new)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ((LENGTH, CHUNKED), b"0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: identity", LENGTH), SMUGGLED),
        ((CHUNKED, CHUNKED), b"0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding : chunked", LENGTH), SMUGGLED),
        (("X: y\r\n Transfer-Encoding: chunked",), b"0\r\n\r\n" + SMUGGLED),
        (("X: y\nContent-Length: 5",), SMUGGLED),
        (("X: y\rContent-Length: 5",), SMUGGLED),
        (("X: y\0z",), SMUGGLED),
        (("Content-Length: 5", "Content-Length: 35"), SMUGGLED),
        (("Content-Length: +5",), SMUGGLED),
        (("Content-Length: 5 5",), SMUGGLED),
        (("Host: second",), SMUGGLED),
        (("Connection: Upgrade", "Upgrade: torture", LENGTH), SMUGGLED),
        (("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMA"), SMUGGLED),
    ],
)
async def test_a_head_that_could_be_read_in_two_ways(job: Proxied, lines: tuple[str, ...], body: bytes) -> None:
    await refused(job, job.request("/x", *lines, method="POST") + body)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POST /", b"POST http://x/"),
        (b"POST /", b"CONNECT /"),
        (b"POST /", b"post /"),
        (b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
        (b"HTTP/1.1\r\n", b"http/1.1\r\n"),
        (b"/x ", b"/x#y "),
        (b"/x ", b"/x\t"),
        (b"Host: ", b"X-Host: "),
        (b"Host: ", b"Host : "),
        (b"X-Line: y", b"X-Line: y\n\nGET / HTTP/1.1"),
    ],
)
async def test_a_request_line_or_host_that_is_none(job: Proxied, old: bytes, new: bytes) -> None:
    await refused(job, altered(job, old, new) + SMUGGLED)


@pytest.mark.parametrize(
    "body", [b"5\nhello\r\n0\r\n\r\n", b"-5\r\nhello", b"0x5\r\nhello", b"5\r\nhelloX0\r\n\r\n", b"5 x\r\n", b"G\r\n"]
)
async def test_chunks_that_are_none(job: Proxied, body: bytes) -> None:
    """The job may have seen the head by then; its connection is reset and what follows is not a request."""
    await refused(job, job.request("/x", CHUNKED, method="POST") + body + SMUGGLED, head_may_pass=True)


async def test_a_broken_chunk_stays_broken_when_good_bytes_follow(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(job.request("/x", CHUNKED, method="POST") + b"5\r\nhelloX")
        await wire.send(b"\r\n0\r\n\r\n" + job.request("/smuggled"))
        assert (await wire.answer()).status == 400
        assert await wire.rest() == (b"", "end")
    assert not any(b"/smuggled" in heard for heard in job.heard)


async def refused(job: Proxied, data: bytes, *, head_may_pass: bool = False) -> None:
    before = job.heard
    async with job.wired() as wire:
        await wire.send(data)
        answer = await wire.answer()
        assert (answer.status, answer.get("content-type")) == (400, "application/problem+json")
        assert answer.get("connection") == "close"
        assert b"Invalid request" in answer.body
        assert await wire.rest() == (b"", "end")
    if not head_may_pass:
        assert job.heard == before
    assert not any(b"/smuggled" in heard for heard in job.heard)


@pytest.mark.parametrize("size", [70_000, 1_000_000])
async def test_a_head_of_a_megabyte_is_431_and_the_answer_can_be_read(job: Proxied, size: int) -> None:
    async with job.wired() as wire:
        sending = asyncio.create_task(wire.send(job.request("/x", "X: " + "y" * size)))
        answer = await wire.answer()
        assert (answer.status, answer.get("connection")) == (431, "close")
        assert await wire.rest() == (b"", "end")
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_target_that_is_too_long_is_414(job: Proxied) -> None:
    assert (await job.ask("/" + "y" * 20_000)).status == 414


async def test_slow_and_silent_clients_meet_the_deadlines_of_the_configuration(fleet) -> None:
    settings = ("timeouts.head=0.5", "timeouts.idle=1.0", "timeouts.relay_idle=1.5")
    job = joined(fleet, *settings)()
    async with job.wired() as half, job.wired() as silent:
        await half.send(job.request("/x")[:-2])
        assert (await half.answer()).status == 408
        assert await half.rest() == (b"", "end")
        assert await silent.rest() == (b"", "end")
    async with job.wired() as idle:
        await idle.send(job.request("/x"))
        assert (await idle.answer()).status == 200
        assert await idle.rest() == (b"", "end")
    job.says("begun", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    async with job.wired() as relayed:
        await relayed.send(job.request("/say/begun?then=hang"))
        assert (await relayed.head()).status == 200
        assert await relayed.rest() == (b"", "end")  # short of its length: a cut
    await eventually(lambda: (job.sandbox / "gone").exists())


async def test_a_job_that_never_answers_is_504(fleet) -> None:
    job = joined(fleet, "timeouts.relay_idle=0.5")()
    job.says("nothing", b"")
    assert (await job.ask("/say/nothing?then=hang")).status == 504

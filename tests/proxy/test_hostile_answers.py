"""A job that answers with what is no answer: 502, or a cut when the head is out; never bytes that were not its own."""

from __future__ import annotations

import pytest
from proxied import Proxied

OK = b"HTTP/1.1 200 OK\r\n"
NO_ANSWERS = {
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nab",
    "only LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
    "obs-fold": OK + b"X: y\r\n z\r\nContent-Length: 2\r\n\r\nab",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\nab",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nab",
    "an endless head": OK + b"X: " + b"y" * 200_000,
    "endless interim answers": b"HTTP/1.1 103 Early\r\n\r\n" * 100,
    "a switch that nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"
    + OK
    + b"Content-Length: 2\r\n\r\nab",
}


@pytest.mark.parametrize("data", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_is_no_answer_is_502_and_the_client_stays_in_step(job: Proxied, data: bytes) -> None:
    job.says("answer", data)
    async with job.wired() as wire:
        await wire.send(job.request("/say/answer?then=hang"))
        answer = await wire.head()
        while answer.status == 103:
            answer = await wire.head()
        assert (answer.status, answer.get("content-type")) == (502, "application/problem+json")
        await wire.exactly(int(answer.get("content-length") or "0"))
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")


@pytest.mark.parametrize("body", [b"5\r\nhello\nx", b"zz\r\n", b"0\r\nContent-Length: 5\r\n\r\n"])
async def test_chunks_that_are_none_are_502_or_a_cut(job: Proxied, body: bytes) -> None:
    job.says("answer", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n" + body)
    async with job.wired() as wire:
        await wire.send(job.request("/say/answer?then=hang", "Connection: close"))
        assert (await wire.head()).status in (200, 502)
        came, _ = await wire.rest()
        assert b"0\r\n\r\n" not in came  # no end of a chunked body


async def test_bytes_behind_an_answers_end_are_dropped_and_never_answer_another_request(job: Proxied) -> None:
    job.says("more", OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 6\r\n\r\npoison")
    async with job.wired() as wire:
        for rest, body in (("/say/more?then=keep", b"ok"), ("/say/more?then=keep", b"ok"), ("/x", b"GET /x")):
            await wire.send(job.request(rest))
            assert (await wire.answer()).body.startswith(body)


async def test_a_body_in_answer_to_head_is_dropped(job: Proxied) -> None:
    job.says("body", OK + b"Content-Length: 6\r\n\r\npoison")
    async with job.wired() as wire:
        await wire.send(job.request("/say/body?then=keep", method="HEAD"))
        assert (await wire.answer(method="HEAD")).get("content-length") == "6"
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")

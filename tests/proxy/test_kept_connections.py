"""A client's connection serves all kinds of requests in any order; a job's connection is kept and used again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from proxied import Proxied, joined


def mixed(job: Proxied) -> list[tuple[bytes, bytes]]:
    """Requests of all kinds, and how the body of each one's answer begins."""
    host = "Host: {}:{}\r\n".format(*job.router.address("control")).encode()
    api = b"GET /info HTTP/1.1\r\n" + host + b"\r\n"
    return [
        (api, b'{"auth"'),
        (job.request("/one"), b"GET /one "),
        (b"GET " + job.info["path"].encode() + b"/info HTTP/1.1\r\n" + host + b"\r\n", b'{"uid"'),
        (job.request("/two", "Content-Length: 5", method="POST") + b"hello", b"POST /two "),
        (b"GET /nothing HTTP/1.1\r\n" + host + b"\r\n", b'{"type": "urn:prouter:'),
        (job.request("/three", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n0\r\n\r\n", b"POST /three "),
        (api, b'{"auth"'),
        (job.request("/four"), b"GET /four "),
    ]


async def test_one_after_the_other(job: Proxied) -> None:
    async with job.wired() as wire:
        for request, begin in mixed(job):
            await wire.send(request)
            assert (await wire.answer()).body.startswith(begin)


async def test_pipelined_with_empty_lines_between(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(b"\r\n\r\n".join(request for request, _ in mixed(job)))
        for _, begin in mixed(job):
            assert (await wire.answer()).body.startswith(begin)


async def test_byte_by_byte(job: Proxied) -> None:
    async with job.wired() as wire:
        for request, begin in mixed(job):
            for number in range(len(request)):
                await wire.send(request[number : number + 1])
            assert (await wire.answer()).body.startswith(begin)


async def test_a_client_that_says_close_is_closed_on(job: Proxied) -> None:
    for lines, version in ((("Connection: close",), "1.1"), ((), "1.0")):
        async with job.wired() as wire:
            await wire.send(job.request("/x", *lines, version=version))
            assert (await wire.answer()).get("connection") == "close"
            assert await wire.rest() == (b"", "end")
    async with job.wired() as wire:
        for _ in range(2):
            await wire.send(job.request("/x", "Connection: keep-alive", version="1.0"))
            assert (await wire.answer()).get("connection") == "keep-alive"


async def test_a_jobs_connection_is_used_again(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    for _ in range(5):
        await job.ask("/x")
    assert [heard.count(b"GET /x ") for heard in job.heard if heard] == [5]


async def test_a_connection_that_was_kept_and_closed_is_tried_once_more_where_that_is_safe(
    make_job: Callable[..., Proxied],
) -> None:
    job = make_job()
    await job.ask("/once")
    assert (await job.ask("/again")).body.startswith(b"GET /again ")
    assert [heard.count(b"GET /again ") for heard in job.heard if heard] == [1, 1]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_what_may_not_be_sent_twice_is_502_instead(make_job: Callable[..., Proxied], method: str) -> None:
    job = make_job()
    await job.ask("/once")
    assert (await job.ask("/again", "Content-Length: 0", method=method)).status == 502
    assert sum(heard.count(b" /again ") for heard in job.heard) == 1


async def test_pipes_to_an_agent_are_bounded_and_one_more_request_is_503(fleet) -> None:
    job = joined(fleet, "pipes.per_agent=3", "pipes.warm=0", "pipes.warm_most=0")()
    job.says("nothing", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    contexts = [job.wired() for _ in range(3)]
    wires = [await context.__aenter__() for context in contexts]
    for wire in wires:
        await wire.send(job.request("/say/nothing?then=hang"))
        assert (await wire.head()).status == 200
    answer = await job.ask("/x")
    assert (answer.status, bool(answer.get("retry-after"))) == (503, True)
    for context in contexts:
        await context.__aexit__(None, None, None)


async def test_an_idle_pipe_of_another_job_makes_room(fleet) -> None:
    make = joined(fleet, "pipes.per_agent=1", "pipes.warm=0", "pipes.warm_most=0")
    one, other = make(), make()
    for job in (one, other, one, other):
        assert (await job.ask("/x")).status == 200


async def test_a_verb_nobody_knows_is_the_routers_to_refuse_and_the_connection_stays(job: Proxied) -> None:
    host = "Host: {}:{}\r\n\r\n".format(*job.router.address("control")).encode()
    async with job.wired() as wire:
        for path in (b"/info", job.info["path"].encode() + b"/info", b"/jobs/create"):
            await wire.send(b"FROBNICATE " + path + b" HTTP/1.1\r\n" + host)
            answer = await wire.answer()
            assert (answer.status, answer.get("content-type")) == (405, "application/problem+json"), path
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")

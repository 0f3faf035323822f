"""A job that answers with what is no answer: 502, or a cut when the head is out; never bytes that were not its own."""

from __future__ import annotations

from proxied import Proxied

OK = b"HTTP/1.1 200 OK\r\n"


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

"""A job closes a kept connection in the moment in which it is used: once more where that is safe, never otherwise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from proxied import Proxied

BODY = ("Content-Length: 2", b"hi")
CHUNKS = ("Transfer-Encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n")
NONE = ("X-Body: none", b"")


def times_heard(job: Proxied, method: str) -> int:
    return sum(heard.count(f"{method} /again ".encode()) for heard in job.heard)


@pytest.fixture(scope="session")
def alone(make_job: Callable[..., Proxied]) -> Proxied:
    """A job that nobody else talks to: what is kept to it is known."""
    return make_job()


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_what_only_reads_is_sent_once_more(alone: Proxied, method: str, then: str) -> None:
    before = times_heard(alone, method)
    assert (await alone.ask(f"/once?then={then}")).body == b"first"
    assert (await alone.ask("/again", method=method)).status == 200
    assert times_heard(alone, method) == before + 2


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_so_is_a_handshake(alone: Proxied, then: str) -> None:
    assert (await alone.ask(f"/once?then={then}")).body == b"first"
    async with alone.wired() as wire:
        await wire.send(alone.request("/tunnel/again", "Connection: Upgrade", "Upgrade: torture") + b"early")
        assert (await wire.head()).status == 101
        assert await wire.exactly(8) == b"hi\0early"


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    ("method", "line", "body"),
    [
        ("POST", *NONE),
        ("POST", *BODY),
        ("PUT", *CHUNKS),
        ("PATCH", *BODY),
        ("DELETE", *NONE),
        ("PROPFIND", *NONE),
        ("FROBNICATE", *NONE),
        ("GET", *BODY),
        ("GET", *CHUNKS),
        ("OPTIONS", *BODY),
    ],
)
async def test_anything_else_is_sent_once(alone: Proxied, method: str, line: str, body: bytes, then: str) -> None:
    """Both asked for at once: what was idle for long would not be taken for the second."""
    before = times_heard(alone, method)
    async with alone.wired() as wire:
        await wire.send(alone.request(f"/once?then={then}") + alone.request("/again", line, method=method) + body)
        assert (await wire.answer()).body == b"first"
        assert (await wire.answer()).status == 502
    assert times_heard(alone, method) == before + 1
    assert (await alone.ask("/after")).status == 200


async def test_what_is_sent_once_takes_no_connection_that_was_idle_for_long(make_job: Callable[..., Proxied]) -> None:
    """The longer one was idle, the likelier its job closes it just now."""
    reads, changes, reads_with_body = jobs = [make_job() for _ in range(3)]
    for _ in range(3):  # what was decided about one holds for the next
        await reads.ask("/first")
        await changes.ask("/first", NONE[0], method="POST")
        await reads_with_body.ask("/first", BODY[0], body=BODY[1])
    await asyncio.sleep(1.2)  # it is this time that counts; there is no state to wait for
    await reads.ask("/second")
    await changes.ask("/second", NONE[0], method="POST")
    await reads_with_body.ask("/second", BODY[0], body=BODY[1])
    for job, together in zip(jobs, (True, False, False), strict=True):
        assert together == any(b" /first " in heard and b" /second " in heard for heard in job.heard)


async def test_an_answer_that_had_begun_is_not_asked_for_again(alone: Proxied) -> None:
    before = times_heard(alone, "GET")
    assert (await alone.ask("/once?then=begin")).body == b"first"
    assert (await alone.ask("/again")).status == 502
    assert times_heard(alone, "GET") == before + 1


async def test_never_a_third_time(alone: Proxied) -> None:
    """Nor a second time on a fresh connection, kept ones or not."""
    assert (await alone.ask("/once")).body == b"first"
    assert (await alone.ask("/mute/again")).status == 502
    assert sum(heard.count(b"/mute/again ") for heard in alone.heard) == 2
    assert (await alone.ask("/mute/again")).status == 502
    assert sum(heard.count(b"/mute/again ") for heard in alone.heard) == 3


async def test_a_job_that_closes_idle_connections_all_the_time_is_never_seen_to(
    make_job: Callable[..., Proxied],
) -> None:
    """By who reads; who changes something is told, and it never happens twice."""
    job, chance = make_job(), random.Random(7)

    async def client(name: int) -> list[tuple[str, int]]:
        said = []
        async with job.wired() as wire:
            for number in range(40):
                method = "POST" if number % 4 == 3 else "GET"
                rest = f"/fickle/{name}-{number}-?ms={chance.choice([0, 1, 2, 3])}"
                await wire.send(job.request(rest, "Content-Length: 0", method=method))
                answer = await wire.answer()
                assert answer.status == 502 or f"/{name}-{number}-?" in answer.body.decode().split("\r\n")[0]
                said.append((method, answer.status))
                await asyncio.sleep(chance.random() * 0.004)
        return said

    said = [each for found in await asyncio.gather(*(client(name) for name in range(6))) for each in found]
    assert {status for method, status in said if method == "GET"} == {200}
    heard = b"".join(job.heard)
    assert all(heard.count(f"POST /fickle/{name}-{number}-".encode()) < 2 for name in range(6) for number in range(40))

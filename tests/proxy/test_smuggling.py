"""Each vector of smuggling.py is refused and the connection closed, or read in one way; judged by what the job gets.

Each is sent alone, behind good requests that the router knows by heart, and byte by byte.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest
from proxied import Proxied
from smuggling import VECTORS
from smuggling_forms import BEHIND, LAST, Answered, Read, Refused, Vector
from wire import Answer, Wire

GOOD = b"GET <P>/good HTTP/1.1\r\nHost: <H>\r\n\r\n"
MANY_BYTES = 1500
"""More than these are not sent byte by byte, but in parts of this size."""


@pytest.fixture(scope="module")
def target(make_job: Callable[..., Proxied]) -> Iterator[Proxied]:
    """A job of its own, which at the end has got nothing that stood behind a refused request."""
    job = make_job()
    yield job
    heard = b"".join(job.heard)
    for vector in VECTORS:
        for mark in (b"/behind-%d " % vector.number, b"/last-%d " % vector.number):
            assert isinstance(vector.allowed, Read | Answered) or mark not in heard, vector.name


def everything(vector: Vector, job: Proxied) -> list[bytes]:
    host = "{}:{}".format(*job.router.address("control"))
    return [vector.bytes_for(job.prefix, host, data) for data in (GOOD, vector.data + BEHIND, LAST)]


async def answers(wire: Wire) -> list[Answer]:
    """All that come until the connection ends; it ends between two of them."""
    found = []
    while True:
        try:
            answer = await wire.answer()
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return found
        if answer.status >= 200:
            found.append(answer)


async def send(wire: Wire, *parts: bytes) -> None:
    """Whoever refuses need not read on."""
    with contextlib.suppress(ConnectionError):
        for part in parts:
            await wire.send(part)


def judge(vector: Vector, job: Proxied, found: list[Answer]) -> None:
    match vector.allowed:
        case Refused(status=status):
            assert [answer.status for answer in found] == [status]
            assert found[0].get("content-type") == "application/problem+json"
            assert found[0].get("connection") == "close"
        case Answered():
            assert found[0].status >= 400
            assert [first_line(answer) for answer in found[1:]] == behind(vector)
        case Read(requests=requests, stays=stays, never=never):
            expected = [f"{verb} HTTP/1.1".replace("<N>", str(vector.number)) for verb, _ in requests]
            assert [first_line(answer) for answer in found] == expected + (behind(vector) if stays else [])
            for answer, (_, body) in zip(found, requests, strict=False):
                head, _, came = answer.body.partition(b"\r\n\r\n")
                assert came == body
                assert not never or never not in head.lower()


def first_line(answer: Answer) -> str:
    assert answer.status == 200
    return answer.body.partition(b"\r\n")[0].decode()


def behind(vector: Vector) -> list[str]:
    return [f"GET /{name}-{vector.number} HTTP/1.1" for name in ("behind", "last")]


def assert_nothing_arrived(vector: Vector, before: list[bytes], job: Proxied) -> None:
    if isinstance(vector.allowed, Refused) and not vector.allowed.head_may_pass:
        assert job.heard == before


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_alone(target: Proxied, vector: Vector) -> None:
    before = target.heard
    _, *parts = everything(vector, target)
    async with target.wired() as wire:
        await send(wire, *parts)
        judge(vector, target, await answers(wire))
    assert_nothing_arrived(vector, before, target)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_behind_good_requests_of_the_same_connection(target: Proxied, vector: Vector) -> None:
    """The bytes begin and end as the router knows it of good ones."""
    good, *parts = everything(vector, target)
    async with target.wired() as wire:
        for _ in range(2):
            await wire.send(good)
            assert (await wire.answer()).status == 200
        before = target.heard
        await send(wire, *parts)
        judge(vector, target, await answers(wire))
    assert_nothing_arrived(vector, before, target)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_byte_by_byte(target: Proxied, vector: Vector) -> None:
    before = target.heard
    data = b"".join(everything(vector, target)[1:])
    size = 1 if len(data) <= MANY_BYTES else MANY_BYTES
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    if isinstance(vector.allowed, Read) and not vector.allowed.stays:  # whoever sends behind its own close gets a reset
        at = data.index(b"\r\n\r\n")
        parts = [*parts[:at], data[at:]]
    async with target.wired() as wire:
        await send(wire, *parts)
        judge(vector, target, await answers(wire))
    assert_nothing_arrived(vector, before, target)

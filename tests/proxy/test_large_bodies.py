"""Bodies of any size pass both ways, as fast as the slower side takes them, and never rest in our memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable

import pytest
from proxied import Proxied, joined

from prouter.testing import eventually

MIB = 1024 * 1024
SIZE = 64 * MIB
BLOCK = 65536
LONG = os.environ.get("PROUTER_RELIABILITY") == "long"
LARGE = int(os.environ.get("PROUTER_LARGE_GIB", "10" if LONG else "0")) * 1024 * MIB or SIZE
"""What passes both ways: 10 GiB in the long form, or as many GiB as PROUTER_LARGE_GIB says."""
FLAT = 24 * MIB
"""What a daemon's peak may grow by; a body that rests in memory is several times as long."""


def peaks(job: Proxied) -> tuple[int, int]:
    return job.router.memory_bytes(), job.agent.memory_bytes()


def assert_flat(job: Proxied, before: tuple[int, int]) -> None:
    for name, old, new in zip(("router", "agent"), before, peaks(job), strict=True):
        assert new - old < FLAT, f"the {name} grew by {(new - old) // MIB} MiB"


@pytest.mark.timeout(120 + LARGE // (10 * MIB))
async def test_64_mib_and_more_down_and_up_with_flat_memory(fleet) -> None:
    """10 GiB in the long form. Each block is another, so that the digest tells what is lost, double or elsewhere."""
    job = joined(fleet)()
    before = peaks(job)
    down, up = hashlib.sha256(), hashlib.sha256()
    blocks = LARGE // BLOCK
    async with job.wired() as wire:
        await wire.send(job.request(f"/counted?blocks={blocks}"))
        left = int((await wire.head()).get("content-length") or "0")
        assert left == LARGE
        while left:
            part = await wire.reader.read(min(left, MIB))
            down.update(part)
            left -= len(part)
        await wire.send(job.request(f"/sink?bytes={LARGE}", f"Content-Length: {LARGE}", method="POST"))
        for number in range(blocks):
            part = number.to_bytes(8, "big") * (BLOCK // 8)
            up.update(part)
            await wire.send(part)
        assert (await wire.answer()).body == up.hexdigest().encode()
    assert down.digest() == up.digest()
    assert_flat(job, before)


async def test_a_client_that_does_not_read_fills_nobodys_memory(fleet) -> None:
    """Neither with one answer nor with many that it asked for ahead."""
    job = joined(fleet)()
    before = peaks(job)
    async with job.wired() as wire:
        wire.writer.write(job.request(f"/big?bytes={SIZE}") + job.request(f"/big?bytes={SIZE}") * 3)
        await wire.head()
        wire.writer.transport.pause_reading()
        await asyncio.sleep(1.0)  # for which it could grow; there is no state to wait for
        assert_flat(job, before)
        wire.reset()


async def test_small_answers_asked_for_ahead_wait_until_the_client_reads(fleet) -> None:
    job = joined(fleet)()
    size, count = 40_000, 1500
    before = peaks(job)
    async with job.wired() as wire:
        wire.writer.transport.pause_reading()
        wire.writer.write(job.request(f"/big?bytes={size}") * count)
        heard = job.sandbox / "heard"
        await eventually(lambda: any(path.stat().st_size for path in heard.iterdir()))
        await asyncio.sleep(1.0)  # for which it could grow; there is no state to wait for
        assert_flat(job, before)
        wire.writer.transport.resume_reading()
        for _ in range(count):
            assert (await wire.head()).status == 200
            await wire.exactly(size)


async def test_an_answer_that_comes_before_the_body_was_read_reaches_the_client(job: Proxied) -> None:
    async with job.wired() as wire:
        sending = asyncio.create_task(send_much(wire, job.request("/early", f"Content-Length: {SIZE}", method="POST")))
        answer = await wire.answer()
        assert (answer.status, answer.body, answer.get("connection")) == (413, b"stop", "close")
        assert (await wire.rest())[0] == b""
        await asyncio.gather(sending, return_exceptions=True)


async def send_much(wire, head: bytes) -> None:
    await wire.send(head)
    for _ in range(SIZE // MIB):
        await wire.send(b"x" * MIB)


async def test_a_body_that_the_job_does_not_read_waits_at_the_client(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    job.says("nothing", b"")
    before = peaks(job)
    async with job.wired() as wire:
        sending = asyncio.create_task(send_much(wire, job.request("/early", f"Content-Length: {SIZE}", method="POST")))
        assert (await wire.answer()).status == 413
        wire.reset()
        await asyncio.gather(sending, return_exceptions=True)
    assert_flat(job, before)

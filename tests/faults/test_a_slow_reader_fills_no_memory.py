"""R9: who reads slowly, or not at all, waits by itself; its bytes rest at their sender, not in router and agent."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from asked_streams import JOB, asked, slowly, waiting
from figures import LONG
from pressing_job import MOST, digest, part
from proxied import Proxied, joined
from sampling import Growth, Sampler

from prouter.testing import eventually

KIB, MIB = 1024, 1024 * 1024
SIZE = 10 * 1024 * MIB if LONG else 512 * MIB
SLOW_SECONDS = 60.0 if LONG else 2.0
STALLED_SECONDS = 60.0 if LONG else 1.0
"""For which memory could grow; there is no state to wait for."""
MOST_MIB = 32
STALLED = 100
ALL_STALLED_MIB = 64
STREAM_KIB = 256
"""Of one stream, in each of the two daemons."""
OBJECTS_KIB = 32
"""What an open connection and its request cost besides their bytes, with room for a heap that is not full."""


class Both:
    """The growth of a router and an agent."""

    def __init__(self, job: Proxied, figures, what: str) -> None:
        self._figures, self._what = figures, what
        self._growths = {"router": Growth(job.router.pid), "agent": Growth(job.agent.pid)}

    def mib(self) -> dict[str, float]:
        return {name: growth.mib() for name, growth in self._growths.items()}

    def assert_within(self, most_mib: float) -> None:
        grown = self.mib()
        for name, mib in grown.items():
            self._figures.record("R9", f"{name}: {self._what}", mib, goal=most_mib, unit="MiB", holds=mib <= most_mib)
        for name, mib in grown.items():
            assert mib <= most_mib, f"the {name} grew by {mib:.1f} MiB: {self._what}"


async def test_a_long_download_to_a_slow_then_stalled_reader(fleet, figures) -> None:
    job = joined(fleet)(JOB)
    async with asked(job, f"/big?bytes={SIZE}") as client:
        assert await client.until_head() == 200
        both = Both(job, figures, "a transfer to a reader of 1 MiB/s that then stalls")
        await slowly(client, MIB, SLOW_SECONDS)
        assert await waiting(job) == 1
        await asyncio.sleep(STALLED_SECONDS)
        client.read_on()
        figures.record("R9", "size of such a transfer", SIZE / MIB, unit="MiB")
        await client.until(SIZE, seconds=30 + SIZE / (20 * MIB))
        both.assert_within(MOST_MIB)


async def test_a_long_upload_to_a_job_that_does_not_read(fleet, figures) -> None:
    job = joined(fleet)(JOB)
    expected = asyncio.create_task(asyncio.to_thread(digest, SIZE))
    async with job.wired() as wire:
        both = Both(job, figures, "a transfer to a job that reads late")
        writer, sent = wire.writer, 0
        writer.transport.set_write_buffer_limits(MIB)
        writer.write(job.request("/sink?after=go", f"Content-Length: {SIZE}", method="POST"))

        async def send() -> None:
            nonlocal sent
            while sent < SIZE:
                writer.write(part(sent, min(MOST, SIZE - sent)))
                sent += min(MOST, SIZE - sent)
                await writer.drain()

        sending = asyncio.create_task(send())
        last = -1

        async def stands() -> bool:
            nonlocal last
            last, before = sent, last
            await asyncio.sleep(STALLED_SECONDS)
            return sent == before

        await eventually(stands, seconds=20 + 4 * STALLED_SECONDS, what="an upload that stands")
        assert 0 < sent < SIZE
        figures.record("R9", "taken of an upload that the job does not read, kernels included", sent / MIB, unit="MiB")
        (job.sandbox / "go").touch()
        async with asyncio.timeout(30 + SIZE / (20 * MIB)):
            await sending
            assert (await wire.answer()).body.decode() == await expected
        both.assert_within(MOST_MIB)


@pytest.mark.parametrize("way", ["down", "up"])
async def test_a_hundred_stalled_streams(fleet, figures, way: str) -> None:
    job = joined(fleet)(JOB)
    async with AsyncExitStack() as stack:
        both = Both(job, figures, f"{STALLED} stalled {way}")
        if way == "down":
            await stalled_down(job, stack)
        else:
            await stalled_up(job, stack)
        await asyncio.sleep(STALLED_SECONDS)
        for name, mib in both.mib().items():
            each = mib * 1024 / STALLED
            holds = each <= STREAM_KIB + OBJECTS_KIB
            figures.record("R9", f"{name}: a stream stalled {way}", each, goal=STREAM_KIB, unit="KiB", holds=holds)
            assert holds, f"{each:.0f} KiB for each stream stalled {way}, in the {name}"
        both.assert_within(ALL_STALLED_MIB)
        for name, daemon in (("router", job.router), ("agent", job.agent)):
            each = sum(Sampler(daemon.pid).unsent_bytes()) / KIB / STALLED
            holds = each <= STREAM_KIB
            figures.record(
                "R9", f"{name}: kernel's of a stream stalled {way}", each, goal=STREAM_KIB, unit="KiB", holds=holds
            )
            assert holds, f"the kernel holds {each:.0f} KiB of a stream stalled {way}, of the {name}"


async def stalled_down(job: Proxied, stack: AsyncExitStack) -> None:
    for _ in range(STALLED):
        await stack.enter_async_context(asked(job, f"/big?bytes={SIZE}", read=False))

    async def all_wait() -> bool:
        return await waiting(job) == STALLED

    await eventually(all_wait, what="a job that waits for all its clients")


async def stalled_up(job: Proxied, stack: AsyncExitStack) -> None:
    """Each sends as much as is taken of it."""
    writers = []
    for _ in range(STALLED):
        wire = await stack.enter_async_context(job.wired())
        stack.callback(wire.reset)  # or its end would wait for the job to read
        wire.writer.transport.set_write_buffer_limits(2 * MIB)
        wire.writer.write(job.request("/sink?after=never", f"Content-Length: {SIZE}", method="POST"))
        writers.append(wire.writer)
    left = [64] * STALLED

    async def stands() -> bool:
        moved = False
        for number, writer in enumerate(writers):
            if left[number] and writer.transport.get_write_buffer_size() < MIB:
                writer.write(part(0, MOST))
                left[number] -= 1
                moved = True
        await asyncio.sleep(0.1)
        return not moved

    await eventually(stands, what="uploads that stand")
    assert all(left), "a body was taken whole that nobody reads"

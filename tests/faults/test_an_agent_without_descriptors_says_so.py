"""R14: an agent that has no descriptor left refuses what needs one, as what works again later (503): nothing of it is
begun, and all works once descriptors are there."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import pytest
from figures import Figures

from prouter.client import Job, RequestFailed
from prouter.testing import Fleet

pytestmark = [pytest.mark.as_user, pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")]

ANOTHER = "a" * 32


@contextlib.contextmanager
def without_descriptors(pid: int) -> Iterator[None]:
    """That process can open nothing more. What it closes meanwhile it can not open again."""
    held = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    first_free = next(number for number in range(len(held) + 1) if number not in held)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


async def test_what_needs_a_descriptor_is_unavailable_for_the_moment(
    fleet: Fleet, figures: Figures, tmp_path: Path
) -> None:
    router, agent = await fleet.pair()
    refused: list[RequestFailed] = []

    @contextlib.asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        with pytest.raises(RequestFailed) as found:
            yield
        refused.append(found.value)

    async with router.client() as client:

        async def made(name: str) -> Job:
            return await client.create({"type": "uid", "uid": agent.uid}, name)

        def started(job: Job) -> Awaitable[Job]:
            return job.start([sys.executable, "-S", "-c", "print('ran')"], port_expected_count=0)

        job, ended = await made("job"), await made("ended")
        await started(ended)
        await ended.wait(20)
        source = tmp_path / "source"
        source.write_text("content")
        with without_descriptors(agent.process.pid):
            async with fails():
                await client.create({"type": "uid", "uid": agent.uid}, "another", uid=ANOTHER)
            async with fails():
                await started(job)
            async with fails():
                await ended.restart()
            async with fails():
                await job.upload(source, "file")
            async with fails():
                await client.drain(agent.uid)
        states = {found.info["name"]: (found.info["state"], found.info["reason"]) for found in await client.jobs()}
        assert states == {"job": ("NEW", None), "ended": ("FINISHED", "exited")}
        found = [(error.http_status, error.problem["retryable"]) for error in refused]
        assert found == [(503, True)] * 5
        assert {place.name for place in agent.jobs.iterdir()} == {job.info["uid"], ended.info["uid"]}
        await client.create({"type": "uid", "uid": agent.uid}, "another", uid=ANOTHER)
        await job.upload(source, "file")
        await started(job)
        await ended.restart()
        for again in (job, ended):
            await again.wait(20)
            assert again.info["reason"] == "exited"
    figures.record("R14", "requests to an agent without descriptors that may be repeated", 5, goal=5, holds=True)

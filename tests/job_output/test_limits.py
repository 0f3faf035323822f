"""The newest output is kept, what was dropped is told, and neither disks nor readers ever stop a job."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from telling import events, new_job, output, tell, told

from prouter.client.client import RequestFailed
from prouter.testing import Fleet

MARKER = re.compile(rb"\A\[(\d+) bytes were dropped here\]\n")
COUNTING = "say(''.join('%06d\\n' % number for number in range({lines})))"
"""Lines of seven bytes, each with its own number."""


def without_marker(data: bytes) -> tuple[int, bytes]:
    found = MARKER.match(data)
    assert found, data[:100]
    return int(found[1]), data[found.end() :]


async def test_beyond_the_limit_the_newest_is_kept_and_the_dropped_is_counted(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.limits.output_bytes=70000")
    everything = "".join(f"{number:06d}\n" for number in range(100000)).encode()
    async with router.client() as client:
        job = await told(client, agent, COUNTING.format(lines=100000))
        dropped, kept = without_marker(await output(job))
        assert kept == everything[dropped:]
        assert 70000 // 2 < len(kept) <= 70000
        assert await output(job, offset=dropped) == kept
        assert await output(job, tail=3) == everything[-21:]
        [gap, first, *_] = await events(client, job)
        assert (gap.kind, gap.data, gap.id) == ("gap", {"offset": 0, "dropped_bytes": dropped}, dropped)
        assert first.data["offset"] == dropped
        dropped, kept = without_marker(await job.read(".pagent.stdout"))
        assert kept == everything[dropped:]
        assert 70000 // 4 <= len(kept) <= 70000
        on_disk = sum(path.stat().st_size for path in (agent.jobs / job.info["uid"] / "output").iterdir())
        assert on_disk <= 70000


async def test_at_the_limit_nothing_is_dropped(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, COUNTING.format(lines=1000), limits={"output_bytes": 8000})
        assert len(await output(job)) == 7000
        assert len(await job.read(".pagent.stdout")) == 7000


async def test_a_start_can_lower_the_limit_but_not_raise_it(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.limits.output_bytes=10000")
    async with router.client() as client:
        job = await told(client, agent, COUNTING.format(lines=10000), limits={"output_bytes": 5000})
        assert len(without_marker(await output(job))[1]) <= 5000
        other = await new_job(client, agent)
        with pytest.raises(RequestFailed) as refused:
            await tell(other, "say('x')", limits={"output_bytes": 10001})
        assert refused.value.http_status == 400
        assert "at most 10000 output_bytes" in refused.value.problem["detail"]
        await tell(other, "say('x')", limits={"output_bytes": 10000})


async def test_a_reader_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.limits.output_bytes=1000000")
    size = 64 * 1024 * 1024
    async with router.client() as client:
        job = await new_job(client, agent)
        host, port = router.address("control")
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        request = f"GET {job.path}/output?follow=1 HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n"
        writer.write(request.encode())
        await reader.readuntil(b"\r\n\r\n")
        before = router.memory_bytes() + agent.memory_bytes()
        await tell(job, f"say(b'x' * {size} + b'the end')")
        await job.wait(60)
        assert job.info["exit_code"] == 0
        assert router.memory_bytes() + agent.memory_bytes() - before < 16 * 1024 * 1024
        data = await reader.read(-1)
        writer.close()
        gaps = re.findall(rb"(\n?\[(\d+) bytes were dropped here\]\n)", data)
        assert gaps
        assert len(data) + sum(int(dropped) - len(marker) for marker, dropped in gaps) == size + len(b"the end")
        assert data.endswith(b"xxthe end")


@contextmanager
def tiny_disk(place: Path) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.needs_root
async def test_a_full_disk_drops_output_and_never_stops_the_job(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await new_job(client, agent)
        with tiny_disk(agent.jobs / job.info["uid"] / "output"):
            await tell(job, "say(b'x' * 1000000); say('last words', 2)")
            await job.wait(20)
            assert (job.info["reason"], job.info["exit_code"]) == ("exited", 0)
            data = await output(job)
            [dropped] = re.findall(rb"\n\[(\d+) bytes were dropped here\]\n", data)
            assert 100000 < data.count(b"x") == 1000000 - int(dropped) + 10 * (b"last words" not in data)
            assert len(await job.read(".pagent.stdout")) == 1000000, "the sandbox is on another disk"
        await job.remove()

"""Files larger than the disk and larger than the memory that prouter takes for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from filing import MIB, Filing

from prouter.testing import Fleet

LARGE = 256 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[None]:
    """4 MiB where the first agent after a router keeps its jobs. Asked for before `fleet`, so it goes after it."""
    if os.geteuid() != 0:
        pytest.skip("mounts a file system")
    place = tmp_path / "agent-1" / "state"
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=False).returncode:
        pytest.skip("may not mount")
    yield
    subprocess.run(["umount", place], check=True)


@pytest.mark.needs_root
async def test_a_full_disk_is_507_and_leaves_nothing_and_the_agent_works_on(small_disk, fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        filing = Filing(router, agent, await client.create({"type": "uid", "uid": agent.uid}, "files"))
        assert (await filing.ask("PUT", "kept", b"k" * MIB)).status == 200
        for verb in ("PUT", "POST"):
            answer = await filing.ask(verb, "new/f", b"x" * 8 * MIB)
            assert (answer.status, answer.json["type"]) == (507, "urn:prouter:no-room")
            assert filing.left() == ["kept"]
        assert (await filing.ask("PUT", "new/f", b"x" * MIB)).status == 200
        assert (await filing.ask("GET", "kept")).content == b"k" * MIB


async def blocks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // MIB):
        yield bytes(MIB)


@pytest.mark.as_user
async def test_a_large_file_goes_both_ways_with_flat_memory_in_both_processes(filing: Filing) -> None:
    await filing.ask("PUT", "small", b"x" * MIB)
    await filing.ask("GET", "small")
    before = [daemon.memory_bytes() for daemon in (filing.router, filing.agent)]
    assert (await filing.ask("PUT", "large", blocks(LARGE))).json["size"] == LARGE
    got = 0
    async for chunk in filing.job.download("large"):
        got += len(chunk)
    assert got == LARGE
    for daemon, memory in zip((filing.router, filing.agent), before, strict=True):
        assert daemon.memory_bytes() - memory < 24 * MIB

"""R13: a disk that answers with errors, or takes nothing any more, costs what had to be written, says so, and no job.

EIO of write and of fsync in an agent's threads, by strace; a file system that went read-only because its disk failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from figures import Figures
from small_disks import SmallDisk, hangable_disk, needs_mounts
from test_a_full_disk_loses_no_job import Home
from test_an_agent_may_die_at_any_write import ONE_THREAD
from writes import traced

from prouter.client import Job, RequestFailed
from prouter.testing import Fleet, eventually

pytestmark = needs_mounts

OLD, NEW = b"old content", b"new content" * 1000
LOUD = "import time\nwhile True: print('loud', flush=True); time.sleep(0.02)"
FAILING = ("write,pwrite64,writev", "fsync,fdatasync")


class Files:
    """What is written to a job's sandbox, in all ways, and what is there of it."""

    def __init__(self, home: Home, job: Job) -> None:
        self.home, self.job = home, job
        self.place = home.agent.sandbox(job)

    async def write(self, content: bytes) -> list[tuple[int, str]]:
        """Statuses and what was said."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo("archive")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        whole = {"Content-Type": "application/octet-stream"}
        part = whole | {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"}
        return [
            await self._ask("PUT", "file/put", content, whole),
            await self._ask("PUT", "file/part", content, part),
            await self._ask("POST", "archive", packed.getvalue(), whole),
        ]

    async def _ask(self, verb: str, path: str, content: bytes, headers: dict[str, str]) -> tuple[int, str]:
        url = f"{self.home.client.url}{self.job.path}/{path}"
        async with self.home.client.session.request(verb, url, data=io.BytesIO(content), headers=headers) as answer:
            return answer.status, await answer.text()

    def there(self) -> dict[str, bytes]:
        """All of it, temporary ones too."""
        names = [name for name in os.listdir(self.place) if ".pagent." not in name]
        return {name: (self.place / name).read_bytes() for name in names}


@contextlib.asynccontextmanager
async def refused(word: str) -> AsyncIterator[None]:
    with pytest.raises(RequestFailed) as found:
        yield
    assert found.value.http_status in (500, 507), found.value
    assert word in str(found.value), "it says what was wrong"


@pytest.mark.parametrize("calls", FAILING)
async def test_an_error_of_the_disk_is_told_and_leaves_no_half_of_anything(
    fleet: Fleet, tmp_path: Path, figures: Figures, calls: str
) -> None:
    """Each of these system calls in the threads that write is answered with EIO for a while."""
    fleet.expected_errors += ["Input/output error", "is not on disk yet"]
    plugin = tmp_path / "one_thread.py"
    plugin.write_text(ONE_THREAD)
    router = fleet.router()
    agent = fleet.agent(
        router,
        *("jobs.background_threads=1", f"plugins.load=[{str(plugin)!r}]"),
        environ={"PROUTER_NO_UVLOOP": "1"},  # which would be woken by a write, too
    )
    await router.agent_is_there(agent)
    async with router.client() as client:
        home = Home(router, agent, client)
        new, ends = await home.create("new"), await home.running("ends", LOUD)
        runs = await home.running("runs", LOUD)
        files = Files(home, new)
        assert [status for status, _ in await files.write(OLD)] == [200] * 3
        before, there = await home.states(), files.there()
        async with traced(agent.pid, agent.place / "strace", "-e", f"inject={calls}:error=EIO"):
            told = await files.write(NEW)
            if calls != FAILING[0]:  # an archive's files are not flushed one by one
                told, there = told[:2], there | {"archive": NEW}
            assert all(status == 500 and "Input/output error" in text for status, text in told), told
            found = files.there()
            half = [name for name in found.keys() | there.keys() if found.get(name) != there.get(name)]
            figures.record("R13", f"uploads that EIO of {calls.split(',')[0]} left half", len(half), goal=0)
            assert not half, "half a file, or something temporary"
            async with refused("Input/output error"):
                await home.create("half")
            async with refused("Input/output error"):
                await new.start(["true"], port_expected_count=0)
            assert await home.states() == before
            await ends.stop(grace_seconds=0)
            assert (await home.states())["ends"] == ("FINISHED", "stopped", -9)
        record = agent.jobs / str(ends.info["uid"]) / "record.json"
        await eventually(lambda: '"FINISHED"' in record.read_text(), what="the end on disk")
        assert [status for status, _ in await files.write(OLD * 2)] == [200] * 3
        await new.start(["true"], port_expected_count=0)
        assert (await new.wait(20)).info["exit_code"] == 0
        assert (await home.states())["runs"] == before["runs"]
        await runs.remove()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Where the first agent after a router keeps everything."""
    with hangable_disk(tmp_path / "agent-1" / "state") as made:
        yield made


async def test_a_disk_that_became_read_only_refuses_what_is_to_be_written_and_jobs_go_on(
    disk: SmallDisk, fleet: Fleet
) -> None:
    fleet.expected_errors += ["Read-only file system", "unfinished when the agent ended"]
    router, agent = await fleet.pair("jobs.survive_agent=True")
    async with router.client() as client:
        home = Home(router, agent, client)
        new, ends, runs = [await home.create("new"), *[await home.running(name, LOUD) for name in ("ends", "runs")]]
        files = Files(home, new)
        assert [status for status, _ in await files.write(OLD)] == [200] * 3
        before, there = await home.states(), files.there()
        disk.break_off()
        told = await files.write(NEW)
        assert [status for status, _ in told] == [507] * 3, told
        assert all("Read-only file system" in text for _, text in told), told
        async with refused("Read-only file system"):
            await home.create("half")
        async with refused("Read-only file system"):
            await new.start(["true"], port_expected_count=0)
        async with refused("Read-only file system"):
            await new.mkdir("made")
        assert await home.states() == before
        assert (files.there(), await new.read("put")) == (there, OLD)
        pid = int((await runs.refresh()).info["pid"])
        assert Path(f"/proc/{pid}/stat").exists(), "its output has no room, and it goes on"
        for job in (ends, runs):
            await job.stop(grace_seconds=0)
        ended = await home.states()
        assert ended == {"new": before["new"]} | dict.fromkeys(("ends", "runs"), ("FINISHED", "stopped", -9))

        await asyncio.to_thread(agent.stop)
        disk.mount_anew()
        agent.start()
        await router.agent_is_there(agent)
        states = await home.states()
        assert states == {"new": before["new"]} | dict.fromkeys(("ends", "runs"), ("FINISHED", "agent-lost", None))
        del there["archive"]  # that is not flushed
        assert files.there() | there == files.there(), "what a single upload acknowledged was on disk"
        assert [status for status, _ in await files.write(OLD * 2)] == [200] * 3
        await new.start(["true"], port_expected_count=0)
        assert (await new.wait(20)).info["exit_code"] == 0

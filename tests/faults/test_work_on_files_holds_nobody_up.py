"""R19: whatever lies in a sandbox, and however slow its disk, other requests through the same agent are answered."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from figures import LONG, Figures
from proxied import Proxied, joined
from sampling import percentile

from prouter.testing import Fleet, eventually

JOB = str(Path(__file__).parent / "streaming_job.py")
"""It writes nothing."""
DIRECTORIES = 100
ENTRIES = (100_000 if LONG else 5_000) - DIRECTORIES - 10
"""In the long form, with directories and what else lies there, what `archives.max_entries` lets down."""
GOAL_MS = 50.0
ENOUGH = 300
"""Requests of others of which a hundredth says something; alone, too: what they take on a busy machine."""
SECONDS = 5.0
"""In which any other request is answered, on a machine that is busy with much else; how soon usually is recorded."""


class Others:
    """Requests of others meanwhile: proxied ones, files and the agent's word over its link, one after the other."""

    def __init__(self, job: Proxied, kinds: tuple[str, ...]) -> None:
        path = f"/jobs/{job.info['uid']}"
        known = {"proxied": f"{job.prefix}/small", "file": f"{path}/file/small", "info": f"{path}/info"}
        self._urls = [job.router.url() + known[kind] for kind in kinds]
        self.waits: list[float] = []

    @contextlib.asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            asking = asyncio.create_task(self._ask(session))
            try:
                yield
                assert not asking.done(), asking.exception()
                assert self.waits, "nobody else was answered"
            finally:
                asking.cancel()
                await asyncio.wait([asking])

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        while True:
            for url in self._urls:
                begun = time.monotonic()
                async with session.get(url) as answer:
                    assert answer.status == 200, f"{url}: {answer.status} {await answer.text()}"
                    await answer.read()
                self.waits.append(time.monotonic() - begun)
                assert self.waits[-1] < SECONDS, f"{url} took {self.waits[-1]:.1f} s"
            await asyncio.sleep(0.01)

    def record(self, figures: Figures, beside: str, *, goal: float | None = GOAL_MS) -> None:
        waits = [wait * 1000 for wait in self.waits]
        p99 = percentile(waits, 0.99)
        figures.record("R19", f"p99 of others {beside}", p99, goal=goal, unit="ms", spread=waits)


ALL = ("proxied", "file", "info")


@pytest.fixture
def job(fleet: Fleet) -> Proxied:
    made = joined(fleet)()
    (made.sandbox / "small").write_bytes(b"small")
    return made


async def test_what_is_no_file_is_refused_at_once(job: Proxied, figures: Figures) -> None:
    """By all that opens it: a FIFO that nobody writes to would hold whoever opens it for ever."""
    os.mkfifo(job.sandbox / "fifo")
    os.mkfifo(job.sandbox / "small-fifos")
    (job.sandbox / "zero").symlink_to("/dev/zero")
    (job.sandbox / "to-fifo").symlink_to("fifo")
    if os.geteuid() == 0:
        os.mknod(job.sandbox / "device", 0o20666, os.makedev(1, 5))  # /dev/zero's own numbers
    alone = Others(job, ALL)
    async with alone.meanwhile():
        await eventually(lambda: len(alone.waits) >= ENOUGH, what="what it takes alone")
    alone.record(figures, "alone", goal=None)
    others, path = Others(job, ALL), f"/jobs/{job.info['uid']}"
    names = [entry.name for entry in job.sandbox.iterdir() if not entry.is_file() and not entry.is_dir()]
    assert {"fifo", "zero", "to-fifo"} <= set(names)
    statuses: dict[str, int] = {}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with others.meanwhile(), aiohttp.ClientSession(job.router.url(), timeout=timeout) as session:

        async def ask(verb: str, rest: str, **how: object) -> None:
            async with session.request(verb, path + rest, **how) as answer:
                await answer.read()
                statuses[f"{verb} {rest}"] = answer.status

        while len(others.waits) < ENOUGH:
            for name in names * 16:  # more than there are threads
                await ask("GET", f"/file/{name}")
        for name in names:
            await ask("HEAD", f"/file/{name}")
            await ask("GET", f"/file/{name}", headers={"Range": "bytes=0-9"})
        refused = dict(statuses)
        await ask("GET", "/files")
        await ask("GET", "/archive")
        await ask("GET", "/archive?compress=1")
        await ask("POST", "/files", json={"move": "small-fifos", "to": "moved"})
        await ask("PUT", "/file/to-fifo", data=io.BytesIO(b"over it"))
    assert set(refused.values()) <= {400, 403, 404, 409, 415, 422}, refused
    assert all(status < 500 for status in statuses.values()), statuses
    others.record(figures, "beside special files")


async def test_an_archive_of_very_many_entries_up_and_down_beside_others(job: Proxied, figures: Figures) -> None:
    sent = await asyncio.to_thread(many_entries, ENTRIES)
    others, path = Others(job, ALL), f"/jobs/{job.info['uid']}/archive"
    async with others.meanwhile(), aiohttp.ClientSession(job.router.url()) as session:
        headers = {"Content-Type": "application/octet-stream"}
        async with session.post(path, data=io.BytesIO(sent), headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        async with session.get(path) as answer:
            assert answer.status == 200
            size = 0
            async for data in answer.content.iter_any():
                size += len(data)
    assert size >= ENTRIES * 512
    others.record(figures, "beside archives of very many entries")
    figures.record("R19", "entries of such an archive", ENTRIES)


def many_entries(count: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for number in range(count):
            archive.addfile(tarfile.TarInfo(f"many/{number % DIRECTORIES}/{number}"))
    return sink.getvalue()


# --- a disk that does not answer ---


@pytest.fixture
def freezable(fleet: Fleet) -> Iterator[Path]:
    """Where the next agent keeps its state: a file system of its own, unfrozen and unmounted at the end."""
    place, image = fleet.place / "agent-1" / "state", fleet.place / "disk"
    place.mkdir(parents=True)
    with image.open("wb") as disk:
        disk.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], capture_output=True)
        fleet.close()
        subprocess.run(["umount", "--lazy", place], check=True)


@contextlib.contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Who writes there meanwhile waits and can not even be killed; so it thaws by itself, too."""
    thaw = subprocess.Popen(["sh", "-c", 'sleep 60; fsfreeze --unfreeze "$0"', place], start_new_session=True)
    subprocess.run(["fsfreeze", "--freeze", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], check=True)
        os.killpg(thaw.pid, 9)
        thaw.wait()


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("fsfreeze"), reason="needs root and util-linux")
async def test_a_disk_that_does_not_answer_holds_up_only_what_writes_to_it(
    fleet: Fleet, freezable: Path, figures: Figures
) -> None:
    job = await asyncio.to_thread(joined(fleet), JOB)
    assert freezable in job.sandbox.parents
    (job.sandbox / "small").write_bytes(b"small")
    others, path = Others(job, ("proxied", "info")), f"/jobs/{job.info['uid']}/file/"
    async with aiohttp.ClientSession(job.router.url()) as session:

        async def put(number: int) -> int:
            async with session.put(f"{path}{number}", data=io.BytesIO(b"x" * 100_000)) as answer:
                return answer.status

        async def create() -> int:
            body = {"agent": {"type": "uid", "uid": job.agent.uid}, "name": "late"}
            async with session.post("/jobs/create", json=body) as answer:
                return answer.status

        async with others.meanwhile():
            with frozen(freezable):
                waiting = [asyncio.create_task(put(number)) for number in range(20)]
                waiting.append(asyncio.create_task(create()))
                waits, begun = len(others.waits), time.monotonic()
                await eventually(lambda: len(others.waits) > waits + 50 and time.monotonic() > begun + 2)
                assert not any(task.done() for task in waiting), "it was not frozen"
            statuses = await asyncio.gather(*waiting)
    assert set(statuses) <= {200, 201}, statuses
    assert all((job.sandbox / str(number)).stat().st_size == 100_000 for number in range(20))
    others.record(figures, "beside a frozen disk")

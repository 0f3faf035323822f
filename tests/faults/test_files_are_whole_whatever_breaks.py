"""R13: a file that is uploaded is whole, old or new, whatever cuts the upload off; nothing temporary stays.

Clients that go away, a disk without room or names, an fsync that fails, an agent that is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from figures import LONG, Figures
from small_disks import MIB, SmallDisk, needs_mounts, small_disk

from prouter import hookimpl
from prouter.client import Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = needs_mounts

CUTS = 1000 if LONG else 50
KILLS = 50 if LONG else 2
MOST_BYTES = 300_000
NO_ROOM_SECONDS = 1.0
ROOM = 3
WAYS = ("PUT", "POST", "part", "archive")


class FailingDisk:
    """For `fleet.agent(plugins=[...])`: no fsync succeeds while the directory that it is given holds `fails`."""

    @hookimpl
    def prouter_startup(self) -> None:
        real = os.fsync

        def fsync(file: int) -> None:
            if os.path.exists("fails"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(file)

        os.fsync = fsync


class Uploading:
    """One job whose file `name` is uploaded again and again, each time with other bytes."""

    def __init__(self, router: RouterDaemon, agent: AgentDaemon, job: Job) -> None:
        self.router, self.agent, self.job = router, agent, job
        self._chance = random.Random(13)
        self.there: dict[str, bytes | None] = dict.fromkeys(WAYS)
        """What each way's file holds for sure."""
        self.maybe: dict[str, list[bytes]] = {way: [] for way in WAYS}
        """What it may hold since."""
        self.torn: list[str] = []
        """What was found and is neither."""
        self.stayed: list[str] = []
        """Temporary ones that did not go."""

    def request(self, way: str) -> tuple[bytes, bytes]:
        """The next upload: the new content, and all that is sent for it."""
        content = self._chance.randbytes(self._chance.randint(1, MOST_BYTES))
        body, lines, path = content, "", f"file/{way}"
        if way == "part":
            lines = f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}\r\n"
        elif way == "archive":
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                member = tarfile.TarInfo(way)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            body, path = packed.getvalue(), "archive"
            lines = "Content-Type: application/octet-stream\r\n"
        verb = "POST" if way in ("POST", "archive") else "PUT"
        host, port = self.router.address("control")
        head = f"{verb} {self.job.path}/{path} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}"
        return content, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def upload(self, way: str, *, cut: bool = False) -> tuple[int, float]:
        """The answer's status, 0 for none, and how long it took; with `cut` the client goes away somewhere."""
        content, data = self.request(way)
        self.maybe[way].append(content)
        begun = time.monotonic()
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*self.router.address("control"))
            status = 0
            try:
                writer.write(data[: self._chance.randrange(len(data))] if cut else data)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                    if not cut:
                        line = await reader.readline()
                        status = int(line.split()[1]) if line else 0
            finally:
                writer.transport.abort() if cut and self._chance.random() < 0.5 else writer.close()
        if status == 200:
            self.there[way], self.maybe[way] = content, []
        elif status in (429, 500, 507):  # the agent said no; a 502 of the router is that nobody knows
            self.maybe[way].remove(content)
        return status, time.monotonic() - begun

    async def upload_soon(self, way: str) -> tuple[int, float]:
        """With the next try where too many uploads in parts were left unfinished; those are forgotten soon here."""
        deadline = time.monotonic() + 10
        while True:
            status, seconds = await self.upload(way)
            if status != 429 or time.monotonic() > deadline:
                return status, seconds
            await asyncio.sleep(0.1)

    def look(self) -> None:
        """Whether each file is whole: what it was, or one of those that nobody got an answer for."""
        for way, known in self.there.items():
            place = self.agent.sandbox(self.job) / way
            found = place.read_bytes() if place.exists() else None
            if found not in (known, *self.maybe[way]):
                self.torn.append(f"{way}: {None if found is None else len(found)} bytes")

    def left(self) -> list[str]:
        """Names that are no file of ours, beside the job's own: temporary ones."""
        directory = self.agent.jobs / str(self.job.info["uid"])
        inside = [name for name in os.listdir(directory / "sandbox") if name not in WAYS and ".pagent." not in name]
        return inside + [name for name in os.listdir(directory) if "unpacking" in name]

    async def nothing_is_left(self) -> None:
        with contextlib.suppress(AssertionError):
            await eventually(lambda: not self.left())
        self.stayed += self.left()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "agent-1" / "state", 24 * MIB, names=256) as made:
        yield made


async def test_a_file_is_whole_old_or_new_whatever_cuts_its_upload(
    disk: SmallDisk, fleet: Fleet, figures: Figures
) -> None:
    fleet.expected_errors += ["Input/output error", "is not on disk yet"]
    router = fleet.router()
    agent = fleet.agent(router, "files.unfinished_upload_age=1", plugins=[FailingDisk])
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "files")
        await job.start(["true"], port_expected_count=0)  # one that has ended keeps its files when the agent dies
        await job.wait(20)
        files = Uploading(router, agent, job)

        async def all_ways(look: Callable[[str, int, float], None]) -> None:
            for way in WAYS:
                look(way, *await files.upload_soon(way))
                files.look()

        def fine(way: str, status: int, _: float) -> None:
            assert status == 200, way

        await all_ways(fine)
        cut = 0
        for number in range(CUTS):
            await files.upload(WAYS[number % len(WAYS)], cut=True)
            cut += 1
            files.look()
        await files.nothing_is_left()
        await all_ways(fine)
        waits: list[float] = []

        def no_room(way: str, status: int, seconds: float) -> None:
            assert status == 507, way
            waits.append(seconds)

        for broken in (disk.filled, disk.without_names):
            with broken():
                statuses = [await files.upload(way) for way in ("PUT", "POST", "archive")]
                for way, (status, seconds) in zip(WAYS, statuses, strict=False):
                    no_room(way, status, seconds)
                files.look()
                await files.nothing_is_left()
            await all_ways(fine)
        (agent.place / "fails").touch()
        await all_ways(lambda way, status, _: _expect(status in (200, 500) if way == "archive" else status == 500, way))
        (agent.place / "fails").unlink()
        await files.nothing_is_left()
        await all_ways(fine)
        for _ in range(KILLS):
            uploads = [asyncio.create_task(files.upload(way)) for way in WAYS]
            await eventually(lambda tasks=uploads: files.left() or all(task.done() for task in tasks))
            agent.kill()
            await asyncio.gather(*uploads, return_exceptions=True)
            agent.start()
            await router.agent_is_there(agent)
            files.stayed += files.left()
            files.look()
        await all_ways(fine)
    figures.record("R13", "uploads that were cut", cut, goal=f">= {CUTS}", holds=cut >= CUTS)
    figures.record("R13", "agents that were killed amid uploads", KILLS)
    figures.record("R13", "files that were neither old nor new", len(files.torn), goal=0)
    figures.record("R13", "temporary files that were left", len(files.stayed), goal=0)
    figures.record("R13", "until an upload is told that there is no room", max(waits), goal=NO_ROOM_SECONDS, unit="s")
    assert (files.torn, files.stayed) == ([], [])
    assert max(waits) < NO_ROOM_SECONDS * ROOM


def _expect(holds: bool, what: str) -> None:
    assert holds, what

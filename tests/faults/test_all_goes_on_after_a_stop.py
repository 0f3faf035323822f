"""R7: a router, an agent, a job, its guardian or a client that stands still for a while costs nobody else anything;
once it goes on, all does: jobs, downloads, uploads and tunnels that were under way, output and ends, new requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from asked_streams import JOB, asked, sending, waiting
from figures import LONG, Figures
from held_trees import parent_of
from pressing_job import MOST, digest, part
from proxied import Proxied, call, new_job
from sampling import Growth, percentile

from prouter.testing import eventually

MIB = 1024 * 1024
STOPPED_SECONDS = 60.0 if LONG else 1.5
CALM_SECONDS = 20.0 if LONG else 0.0
"""For which others are asked before and after the stop: in the long form what they take then is compared."""
SETTINGS = () if LONG else ("links.ping_interval=0.3",)
"""2.5 times as long, and a link is given up: less than the stop takes."""
WELL_SECONDS = 3.0
ROOM = 3
MOST_MIB = 32
SIZE = 32 * MIB
WHILE_IT_STANDS = (200, 502, 503, 504)
"""An answer that waited, or an error that says what happened."""
UPGRADE = ("Connection: Upgrade", "Upgrade: asked")
CLIENT = """
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=600) as answer:
    found = hashlib.sha256(answer.read(1000))
    print("reads", flush=True)
    sys.stdin.readline()
    while data := answer.read(65536):
        found.update(data)
print(found.hexdigest())
"""
WRITES = """
import os, sys, time
number = 0
while not os.path.exists("go"):
    print(number, "x" * int(sys.argv[1]), flush=True)
    number += 1
    time.sleep(float(sys.argv[2]))
print("end", number, flush=True)
sys.exit(7)
"""
A_LITTLE, MUCH = ("10", "0.05"), ("1000", "0.002")
"""Within a stop: less than a pipe holds, and more, so that it has to wait."""


class Place:
    """Two agents: on the first one the job that is looked at and one beside it, on the second a third job."""

    def __init__(self, fleet) -> None:
        self.router = fleet.router(*SETTINGS)
        self.agents = [fleet.agent(self.router, *SETTINGS) for _ in range(2)]
        self.job, self.beside, self.elsewhere = (
            self.started(agent) for agent in (self.agents[0], self.agents[0], self.agents[1])
        )

    def started(self, agent) -> Proxied:
        deadline = time.monotonic() + 20
        while agent.uid not in [
            one["uid"] for one in call(self.router, "GET", "/agents")["agents"] if one["connected"]
        ]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return new_job(self.router, agent, "", JOB)

    def pid(self, who: str) -> int:
        job = self.job.info["pid"]
        return {"router": self.router.pid, "agent": self.agents[0].pid, "job": job, "guardian": parent_of(job)}[who]

    def unharmed(self, who: str) -> list[Proxied]:
        """Jobs that answer while it stands still."""
        return {"router": [], "agent": [self.elsewhere], "job": [self.beside, self.elsewhere]}.get(
            who, [self.job, self.beside, self.elsewhere]
        )


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def asks(job: Proxied, times: list[float], seconds: float) -> None:
    """One GET after the other, each of which is answered."""
    ends = time.monotonic() + seconds
    async with job.wired() as wire:
        while (begun := time.monotonic()) < ends:
            await wire.send(job.request("/"))
            assert (await wire.answer()).status == 200
            times.append(time.monotonic() - begun)
            await asyncio.sleep(0.01)


async def all_ask(jobs: list[Proxied], times: list[float], seconds: float) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(seconds))
        for job in jobs:
            group.create_task(asks(job, times, seconds))


async def calmly(jobs: list[Proxied], calm: list[float]) -> None:
    """Before and after."""
    if CALM_SECONDS and jobs:
        await all_ask(jobs, calm, CALM_SECONDS)


def write_down_others(figures: Figures, who: str, times: list[float], calm: list[float]) -> None:
    if not times:  # a router that stands leaves no others
        return
    p99 = percentile(times, 0.99) * 1000
    figures.record("R7", f"p99 of others while {who} stands", p99, unit="ms")
    if calm:
        ratio = p99 / (percentile(calm, 0.99) * 1000) * 100
        figures.record("R7", f"p99 of others while {who} stands, of that before and after", ratio, goal=120, unit="%")


async def status_in_the_end(job: Proxied) -> int:
    """Of a request that is made while somebody stands still."""
    async with job.wired() as wire, asyncio.timeout(STOPPED_SECONDS + 20):
        await wire.send(job.request("/"))
        return int((await wire.reader.readuntil(b"\r\n")).split()[1])


async def until_well(job: Proxied) -> float:
    """Seconds until a new request is answered."""
    begun = time.monotonic()

    async def answers() -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                return (await job.ask("/")).status == 200
        return False

    await eventually(answers, seconds=ROOM * WELL_SECONDS, what="an answer")
    return time.monotonic() - begun


@contextlib.asynccontextmanager
async def under_way(job: Proxied) -> AsyncIterator[None]:
    """A download, an upload and a tunnel that are begun before, and end whole behind."""
    async with (
        asked(job, f"/big?bytes={SIZE}") as down,
        asked(job, "/asked", *UPGRADE) as tunnel,
        job.wired() as up,
    ):
        await down.until(MIB)
        down.stall()
        assert await tunnel.until_head() == 101
        up.writer.transport.set_write_buffer_limits(MIB)
        await up.send(job.request("/sink", f"Content-Length: {SIZE}", method="POST") + part(0, MIB))
        rest = asyncio.create_task(sent(up))

        async def all_there() -> bool:
            return await sending(job) == 1 and await waiting(job) == 1

        await eventually(all_there, what="a job that has the upload, and waits for who downloads")
        yield
        down.read_on()
        await down.until(SIZE)
        tunnel.transport.write(b"%d\n" % MIB)
        await tunnel.until(MIB)
        await rest
        assert (await up.answer()).body.decode() == digest(SIZE)


async def sent(up) -> None:
    """The rest of an upload, some of it now and some while the other side stands still."""
    start = MIB
    while start < SIZE:
        await up.send(part(start, min(MOST, SIZE - start)))
        start += min(MOST, SIZE - start)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("who", ["router", "agent", "job", "guardian"])
async def test_what_was_under_way_goes_on_after_a_stop(fleet, figures, who: str) -> None:
    place = Place(fleet)
    jobs = (place.job, place.beside, place.elsewhere)
    growths = [Growth(place.router.pid), Growth(place.agents[0].pid)]
    times: list[float] = []
    calm: list[float] = []
    await calmly(place.unharmed(who), calm)
    async with under_way(place.job):
        with stopped(place.pid(who)):
            asking = asyncio.create_task(status_in_the_end(place.job))
            await all_ask(place.unharmed(who), times, STOPPED_SECONDS)
        seconds = [await until_well(job) for job in jobs]
        assert await asking in WHILE_IT_STANDS
    await calmly(place.unharmed(who), calm)
    figures.record(
        "R7",
        f"well after the {who} stood",
        sum(seconds),
        goal=WELL_SECONDS,
        unit="s",
        holds=sum(seconds) <= WELL_SECONDS,
    )
    write_down_others(figures, f"the {who}", times, calm)
    for name, growth in zip(("router", "agent"), growths, strict=True):
        figures.record(
            "R7",
            f"the {name} grew while the {who} stood",
            growth.mib(),
            goal=MOST_MIB,
            unit="MiB",
            holds=growth.mib() <= MOST_MIB,
        )
        assert growth.mib() <= MOST_MIB
    for job in jobs:
        info = call(place.router, "GET", f"{job.info['path']}/info")
        assert (info["state"], info["pid"]) == ("RUNNING", job.info["pid"])


async def test_a_client_that_stands_holds_nobody_up_and_gets_all_in_the_end(fleet, figures) -> None:
    place = Place(fleet)
    growths = [Growth(place.router.pid), Growth(place.agents[0].pid)]
    url = f"{place.router.url()}{place.job.prefix}/big?bytes={SIZE}"
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    times: list[float] = []
    calm: list[float] = []
    try:
        assert await client.stdout.readline() == b"reads\n"
        await calmly(place.unharmed("client"), calm)
        with stopped(client.pid):
            await all_ask(place.unharmed("client"), times, STOPPED_SECONDS)
        await calmly(place.unharmed("client"), calm)
        found, _ = await asyncio.wait_for(client.communicate(b"\n"), 60)
        assert found.decode().strip() == digest(SIZE)
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    write_down_others(figures, "a client", times, calm)
    assert max(growth.mib() for growth in growths) <= MOST_MIB


async def test_a_job_whose_guardian_stands_loses_no_output_and_no_end(fleet) -> None:
    """Both write meanwhile: one a little, and ends then, the other more than a pipe holds."""
    place = Place(fleet)
    async with place.router.client() as client, asyncio.timeout(STOPPED_SECONDS + 60):
        jobs = [await client.create({"type": "uid", "uid": place.agents[0].uid}, "writes") for _ in range(2)]
        for job, size in zip(jobs, (A_LITTLE, MUCH), strict=True):
            await job.start([sys.executable, "-c", WRITES, *size], port_expected_count=0)
        pids = [job.info["pid"] for job in jobs]
        ends = [asyncio.create_task(job.wait()) for job in jobs]
        sandboxes = [place.agents[0].sandbox(job) for job in jobs]
        await eventually(lambda: all(written(each) for each in sandboxes), what="output of both")
        with contextlib.ExitStack() as guardians:
            for pid in pids:
                guardians.enter_context(stopped(parent_of(pid)))
            await asyncio.sleep(STOPPED_SECONDS)
            (sandboxes[0] / "go").touch()
            await eventually(lambda: has_ended(pids[0]), what="an end that the guardian does not see")
            assert not any(end.done() for end in ends), "an end that nobody can have seen was told"
        (sandboxes[1] / "go").touch()
        for end, job in zip(ends, jobs, strict=True):
            info = (await end).info
            assert (info["state"], info["reason"], info["exit_code"]) == ("FINISHED", "exited", 7)
            lines = b"".join([chunk async for chunk in job.output()]).decode().splitlines()
            numbers = [line.split()[0] for line in lines[:-1]]
            assert numbers == [str(number) for number in range(len(numbers))]
            assert lines[-1] == f"end {len(numbers)}"


def has_ended(pid: int) -> bool:
    """Its parent does not know yet."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def written(sandbox: Path) -> int:
    place = sandbox / ".pagent.stdout"
    return place.stat().st_size if place.exists() else 0

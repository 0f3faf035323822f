"""R20, in small: after many requests that ended in every way, a router and an agent are as they were before: the same
descriptors and tasks, no object more, no memory more (R9)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import urllib.request
from collections.abc import Awaitable, Callable

from asked_streams import JOB, ask
from figures import LONG
from inside import AgentInside, RouterInside, inside
from proxied import Proxied, call, new_job
from sampling import Growth, Sampler

from prouter.http1.request import MOST_KNOWN
from prouter.pipe.reset import reset
from prouter.testing import Daemon, eventually

MIB = 1024 * 1024
MUCH = 256 * MIB
TIMES = 2000 if LONG else 20
"""Of each way to end."""
AT_ONCE = 20
UPGRADE = ("Connection: Upgrade", "Upgrade: asked")
MORE = 12
"""Pipes and connections to the job that are kept for the next request, and what belongs to each."""
REMEMBERED = {"prouter.model.http.RequestHead": MOST_KNOWN}
"""Objects that are kept on purpose: no more than so many, however many requests come."""
MOST_MIB = 12
"""A heap that grew once is not a leak; what leaks with each request is more."""


async def read_whole(job: Proxied) -> None:
    client = await ask(job, f"/big?bytes={MIB}")
    await client.until(MIB)
    client.transport.close()


async def leaves_before_the_answer(job: Proxied) -> None:
    client = await ask(job, "/hang")
    await asyncio.sleep(random.uniform(0, 0.02))
    client.transport.close()


async def leaves_amid_an_answer(job: Proxied) -> None:
    client = await ask(job, f"/big?bytes={MUCH}&as={random.choice(('length', 'chunks', 'close'))}")
    client.wrong = ""
    await client.until_head()
    await asyncio.sleep(random.uniform(0, 0.02))
    reset(client.transport)


async def leaves_without_having_read(job: Proxied) -> None:
    client = await ask(job, f"/big?bytes={MUCH}", read=False)
    await asyncio.sleep(random.uniform(0, 0.05))
    client.transport.abort()


async def leaves_amid_an_upload(job: Proxied) -> None:
    client = await ask(job, "/sink", f"Content-Length: {MUCH}", method="POST")
    client.transport.write(bytes(MIB))
    await asyncio.sleep(random.uniform(0, 0.02))
    client.transport.abort()


async def leaves_a_tunnel(job: Proxied) -> None:
    client = await ask(job, "/asked", *UPGRADE)
    await client.until_head()
    client.transport.write(b"%d\n" % random.choice((10, MUCH)))
    await asyncio.sleep(random.uniform(0, 0.02))
    random.choice((client.transport.close, client.transport.abort, client.transport.write_eof))()
    await asyncio.sleep(0.01)
    client.transport.abort()


async def sends_nonsense(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(job.request("/sink", "Transfer-Encoding: chunked", method="POST") + b"no size\r\n")
        with contextlib.suppress(TimeoutError):
            await wire.rest()


async def is_cut_by_the_job(job: Proxied) -> None:
    client = await ask(job, f"/big?bytes={MIB}&die=yes")
    await client.until_end()


async def finds_no_job(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(f"GET {job.info['path'][:-4]}beef/http/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await wire.answer()).status in (404, 421)


async def leaves_the_api(job: Proxied) -> None:
    """A wait that would not end, output that is followed, a file of which it reads nothing."""
    verb, rest = random.choice((("POST", "wait"), ("GET", "output?follow=1"), ("GET", "file/large")))
    async with job.wired() as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        line = f"{verb} {job.info['path']}/{rest} HTTP/1.1"
        host = "{}:{}".format(*job.router.address("control"))
        await wire.send(f"{line}\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
        await asyncio.sleep(random.uniform(0, 0.05))
        wire.reset()


WAYS: tuple[Callable[[Proxied], Awaitable[None]], ...] = (
    read_whole,
    leaves_before_the_answer,
    leaves_amid_an_answer,
    leaves_without_having_read,
    leaves_amid_an_upload,
    leaves_a_tunnel,
    sends_nonsense,
    is_cut_by_the_job,
    finds_no_job,
    leaves_the_api,
)


async def churn(job: Proxied) -> None:
    """Every way many times, mixed, some at once."""
    ways = [way for way in WAYS for _ in range(TIMES)]
    random.shuffle(ways)
    for start in range(0, len(ways), AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for way in ways[start : start + AT_ONCE]:
                group.create_task(way(job))


async def calm(job: Proxied, daemons: tuple[Daemon, ...], figures: dict[str, int]) -> None:
    """Until there are no more descriptors than there were."""

    def few() -> bool:
        return all(Sampler(one.pid).descriptors() <= figures[one.place.name] + MORE for one in daemons)

    await eventually(few, what=f"descriptors of before, {figures}")


async def test_requests_that_end_in_every_way_leave_nothing(fleet, figures) -> None:
    random.seed(20)
    router = fleet.router(plugins=[RouterInside])
    agent = fleet.agent(router, plugins=[AgentInside])
    deadline = time.monotonic() + 20
    while not any(one["connected"] for one in call(router, "GET", "/agents")["agents"]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    job = new_job(router, agent, "", JOB)
    daemons = (router, agent)
    with (job.sandbox / "large").open("wb") as file:
        file.truncate(MUCH)
    await read_whole(job)
    descriptors = {one.place.name: Sampler(one.pid).descriptors() for one in daemons}
    await churn(job)  # all is warm then
    await calm(job, daemons, descriptors)
    before = [await inside(one) for one in daemons]
    growths = [Growth(one.pid) for one in daemons]
    await churn(job)
    await calm(job, daemons, descriptors)

    async def as_before() -> bool:
        after = [await inside(one) for one in daemons]
        grown = {
            f"{daemon.place.name}: {name}": (was.get(name, 0), now)
            for daemon, was, is_ in zip(daemons, before, after, strict=True)
            for name, now in is_.items()
            if now > max(was.get(name, 0), REMEMBERED.get(name, 0)) + MORE
        }
        assert not grown, f"more than before: {grown}"
        return True

    await eventually(as_before, seconds=15)
    assert call(router, "GET", f"{job.info['path']}/info")["activity"]["connections"] <= MORE
    for daemon, growth in zip(daemons, growths, strict=True):
        mib = (growth.sampler.rss_kib() - growth.begun_kib) / 1024
        name = daemon.place.name.partition("-")[0]
        figures.record(
            "R9",
            f"{name}: kept after as many requests again",
            mib,
            goal=MOST_MIB,
            unit="MiB",
            holds=mib <= MOST_MIB,
        )
        assert mib <= MOST_MIB


async def test_pipes_that_were_given_to_the_agents_own_service_are_forgotten(fleet) -> None:
    """Whatever came with what: kept ones would count for `pipes.max_count` for as long as the link is."""
    router, agent = await fleet.pair()
    job = new_job(router, agent, "", JOB)
    with (job.sandbox / "large").open("wb") as file:
        file.truncate(MUCH)

    async def leaves_a_file() -> None:
        async with job.wired() as wire:
            host = "{}:{}".format(*router.address("control"))
            await wire.send(f"GET {job.info['path']}/file/large HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await wire.head()).status == 200
            wire.reset()

    for _ in range(5):  # each needs a pipe of its own, more than are there: it is bound as soon as it is open
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(leaves_a_file())

    def few() -> bool:
        with urllib.request.urlopen(f"{agent.url('control')}/connections", timeout=20) as answer:
            return sum(link["pipes"]["open"] for link in json.load(answer)["connections"]) <= MORE

    await eventually(few, seconds=5, what="pipes that the agent has forgotten")

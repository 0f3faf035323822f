"""A job, an agent or a line that ends amid an answer is a cut for the client and never a clean end, also for one that
had not read what came before; a client that ends is told to the job. Beside what tests/proxy/test_ends_and_cuts.py has
of answers whose client reads all the time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from asked_streams import JOB, ask, asked, ended_at, sending, waiting
from proxied import Proxied, call, joined, new_job
from wire import Wire

from prouter.pipe.reset import reset
from prouter.testing import AgentDaemon, BrokenNetwork, Fleet, RouterDaemon, eventually

MIB = 1024 * 1024
MUCH = 1024 * MIB
FORMS = ("length", "chunks", "close")
UPGRADE = ("Connection: Upgrade", "Upgrade: asked")
GONE_SECONDS = 1.0
ROOM = 3
LINK, PIPES = slice(1), slice(1, None)
"""An agent's connections, oldest first."""


@asynccontextmanager
async def stalled(job: Proxied) -> AsyncIterator[dict[str, Wire]]:
    """An answer of each form whose client has read the head and stopped."""
    async with AsyncExitStack() as stack:
        wires = {}
        for form in FORMS:
            wires[form] = wire = await stack.enter_async_context(job.wired())
            await wire.send(job.request(f"/big?bytes={MUCH}&as={form}"))
            assert (await wire.head()).status == 200
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]

        async def all_stand() -> bool:
            return await waiting(job) == len(FORMS)

        await eventually(all_stand, what="a job that waits for its clients")
        yield wires


async def assert_cut(wires: dict[str, Wire]) -> None:
    for form, wire in wires.items():
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        data, end = await wire.rest()
        assert len(data) < MUCH / 2, form
        assert not data.endswith(b"\r\n0\r\n\r\n"), form
        assert end == "reset" or form != "close"


async def test_the_job_is_killed_while_its_clients_do_not_read(fleet: Fleet) -> None:
    job = joined(fleet)(JOB)
    async with stalled(job) as wires:
        os.kill(job.info["pid"], signal.SIGKILL)
        await eventually(lambda: call(job.router, "GET", f"{job.info['path']}/info")["state"] == "FINISHED")
        await assert_cut(wires)


async def test_the_agent_is_killed_while_clients_do_not_read(fleet: Fleet) -> None:
    job = joined(fleet)(JOB)
    async with stalled(job) as wires:
        job.agent.kill()
        await assert_cut(wires)


@pytest.mark.parametrize("direction", ["the agent dials", "the router dials"])
async def test_what_a_broken_line_takes_with_it(fleet: Fleet, direction: str) -> None:
    """All connections of an agent, or only its pipes: answers are cut. Only its link: they go on and end whole."""
    router = fleet.router()
    if direction == "the agent dials":
        async with BrokenNetwork(router.address("server")) as line:
            agent = fleet.agent(router, f"client.address='{line.authority}'")
            await router.agent_is_there(agent)
            await breaks(line, await asyncio.to_thread(new_job, router, agent, "", JOB))
    else:
        agent = fleet.agent()
        async with BrokenNetwork(agent.address("server")) as line:
            where = {"type": "address", "address": line.authority, "token": agent.token}
            await breaks(line, await asyncio.to_thread(new_job_at, router, agent, where))


def new_job_at(router: RouterDaemon, agent: AgentDaemon, where: dict[str, str]) -> Proxied:
    created = call(router, "POST", "/jobs/create", {"agent": where, "name": "job"})
    start = {"args": [sys.executable, JOB], "port": {"mode": "assign"}}
    return Proxied(router, agent, call(router, "POST", created["path"] + "/start", start))


async def breaks(line: BrokenNetwork, job: Proxied) -> None:
    size = 32 * MIB
    async with asked(job, f"/big?bytes={size}&as=close") as client:
        await client.until(MIB)
        client.stall()
        line.cut(LINK)
        await eventually(lambda: "is away" in job.router.log)
        client.read_on()
        await client.until(size)
        assert await client.until_end() == "end"
    await eventually(lambda: job.router.log.count(" is connected, ") == 2)
    for which in (PIPES, slice(None)):
        async with stalled(job) as wires:
            line.cut(which)
            await assert_cut(wires)

        async def answers() -> bool:
            return (await job.ask("/")).status == 200

        await eventually(answers, seconds=10, what="a job that can be reached again")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_the_job_is_told_of_a_client_that_ends_whatever_is_under_way(fleet: Fleet, figures, how: str) -> None:
    job = joined(fleet)(JOB)
    clients = {
        "before the answer": await ask(job, "/hang?name=before"),
        "amid an upload": await ask(job, "/sink?name=upload", f"Content-Length: {MUCH}", method="POST"),
        "amid a tunnel": await ask(job, "/asked?name=tunnel", *UPGRADE),
        "amid a tunnel that it does not read": await ask(job, "/asked?name=full", *UPGRADE),
        "amid an answer that it does not read": await ask(job, f"/big?name=big&bytes={MUCH}", read=False),
    }
    names = ("before", "upload", "tunnel", "full", "big")
    clients["amid an upload"].transport.write(bytes(MIB))
    full = clients["amid a tunnel that it does not read"]
    await full.until_head()
    full.stall()
    full.transport.write(b"%d\n" % MUCH)
    await clients["amid a tunnel"].until_head()

    async def all_there() -> bool:
        return await waiting(job) == 2 and await sending(job) == 1

    await eventually(all_there, what="a job that is amid all of it")
    begun = time.monotonic()
    for client in clients.values():
        if how == "reset":
            reset(client.transport)
        else:
            client.transport.close()
    await eventually(lambda: all(ended_at(job, name) for name in names), seconds=ROOM * GONE_SECONDS + 2)
    for name, what in zip(names, clients, strict=True):
        seconds = (ended_at(job, name) or 0) - begun
        holds = seconds <= GONE_SECONDS
        figures.record("P6", f"the job is told of a {how} {what}", seconds, goal=GONE_SECONDS, unit="s", holds=holds)
        assert seconds <= ROOM * GONE_SECONDS, what

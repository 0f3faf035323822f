"""An answer that was not sent whole is a cut for its client, never a clean end; whoever dies amid it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from proxied import Proxied, joined

from prouter.testing import eventually

BEGUN = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nbegun",
    "until close, 1.0": b"HTTP/1.0 200 OK\r\n\r\nbegun",
}
GONE_SECONDS = 3.0
"""For what takes a second at most."""
KINDS = pytest.mark.parametrize("kind", BEGUN)


async def begun(job: Proxied, wire, kind: str, then: str = "killed-by-test", version: str = "1.1") -> None:
    """An answer of this kind of which the first bytes have come."""
    job.says("begun", BEGUN[kind])
    await wire.send(job.request(f"/say/begun?then={then}", version=version))
    assert (await wire.head()).status == 200
    await wire.exactly(BEGUN[kind].endswith(b"\r\n") * 5 + 5 if version == "1.1" else 5)


async def is_cut(wire, kind: str) -> None:
    """A reset where the framing does not tell; the bytes so far are no whole answer where it does."""
    data, end = await wire.rest()
    assert data == b""
    if kind.startswith("until close"):
        assert end == "reset"


@KINDS
async def test_the_job_is_killed_amid_its_answer(make_job: Callable[..., Proxied], kind: str) -> None:
    job = make_job()
    async with job.wired() as wire:
        await begun(job, wire, kind)
        os.kill(job.info["pid"], signal.SIGKILL)
        await is_cut(wire, kind)


@pytest.mark.parametrize("kind", ["length", "until close"])
async def test_the_job_kills_itself_behind_its_last_write(make_job: Callable[..., Proxied], kind: str) -> None:
    job = make_job()
    async with job.wired() as wire:
        await begun(job, wire, kind, then="kill")
        await is_cut(wire, kind)


async def test_the_job_resets_amid_its_answer(job: Proxied) -> None:
    async with job.wired() as wire:
        job.says("begun", BEGUN["until close"])
        await wire.send(job.request("/say/begun?then=reset"))
        assert (await wire.rest())[1] == "reset"


@pytest.mark.parametrize("kind", ["length", "chunks"])
async def test_the_job_closes_amid_its_answer(job: Proxied, kind: str) -> None:
    async with job.wired() as wire:
        await begun(job, wire, kind, then="close")
        assert await wire.rest() == (b"", "end")


async def test_a_cut_of_chunks_reaches_a_client_of_http_1_0_as_a_reset(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    async with job.wired() as wire:
        await begun(job, wire, "chunks", then="close", version="1.0")
        assert await wire.rest() == (b"", "reset")


async def test_a_job_that_closes_without_an_answer_is_502_and_asked_once(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    assert (await job.ask("/mute")).status == 502
    assert [heard.startswith(b"GET /mute ") for heard in job.heard if heard] == [True]


@pytest.mark.parametrize("who", ["agent", "router"])
async def test_the_agent_or_the_router_is_killed_amid_an_answer(fleet, who: str) -> None:
    job = joined(fleet)()
    wires = []
    for kind in BEGUN:
        context = job.wired()
        wires.append((context, await context.__aenter__(), kind))
        await begun(job, wires[-1][1], kind)
    (job.agent if who == "agent" else job.router).kill()
    for context, wire, kind in wires:
        await is_cut(wire, kind)
        await context.__aexit__(None, None, None)
    if who == "router":  # the job is told that its clients are gone
        await eventually(lambda: (job.sandbox / "gone").exists(), seconds=GONE_SECONDS)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("kind", ["length", "until close"])
async def test_a_client_that_goes_away_ends_the_jobs_request(
    make_job: Callable[..., Proxied], kind: str, how: str
) -> None:
    job = make_job()
    async with job.wired() as wire:
        await begun(job, wire, kind, then="hang")
        if how == "reset":
            wire.reset()
    await eventually(lambda: (job.sandbox / "gone").exists(), seconds=GONE_SECONDS)


async def test_a_client_that_goes_away_before_the_answer_ends_the_jobs_request(
    make_job: Callable[..., Proxied],
) -> None:
    job = make_job()
    job.says("nothing", b"")
    async with job.wired() as wire:
        await wire.send(job.request("/say/nothing?then=hang"))
        await eventually(lambda: job.heard and b"/say/nothing" in job.heard[-1])
    await eventually(lambda: (job.sandbox / "gone").exists(), seconds=GONE_SECONDS)


async def test_a_client_that_ends_its_half_before_the_answer_is_gone(make_job: Callable[..., Proxied]) -> None:
    """As with nginx: it gets no answer, and its connection ends; docs/networks.md says so."""
    job = make_job()
    job.says("nothing", b"")
    async with job.wired() as wire:
        await wire.send(job.request("/say/nothing?then=hang"))
        await eventually(lambda: job.heard and b"/say/nothing" in job.heard[-1])
        wire.writer.write_eof()
        assert await wire.rest() == (b"", "end")
    await eventually(lambda: (job.sandbox / "gone").exists(), seconds=GONE_SECONDS)
    async with job.wired() as wire:
        host = "{}:{}".format(*job.router.address("control"))
        await wire.send(f"GET {job.info['path']}/output?follow=1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await wire.head()).status == 200
        wire.writer.write_eof()
        assert b"0\r\n\r\n" not in (await wire.rest())[0]
    async with job.wired() as wire:
        await wire.send(job.request("/whole"))
        assert (await wire.answer()).status == 200
        wire.writer.write_eof()
        assert await wire.rest() == (b"", "end")

"""Where a middlebox lets nothing but websockets pass, pipes are websockets: chosen by itself, and right in all ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from middleboxes import Behind
from proxied import Proxied, call
from test_ends_and_cuts import begun, is_cut
from test_upgrades import UPGRADE

from prouter.testing import Fleet, eventually

MIB = 1024 * 1024
WAYS = [("nginx", "agent"), ("nginx", "router"), ("strict", "router")]


@pytest.fixture(scope="module", params=WAYS, ids=[f"{kind}-{dials}-dials" for kind, dials in WAYS])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    fleet = Fleet(tmp_path_factory.mktemp("behind"))
    made: Behind | None = None
    try:
        made = Behind(fleet, *request.param)
        yield made
    finally:
        fleet.close()
        if made is not None:
            made.close()
    assert not fleet.error_lines()


@pytest.fixture(scope="module")
def job(behind: Behind) -> Proxied:
    return behind.job()


@pytest.fixture
def make_job(behind: Behind) -> Callable[[], Proxied]:
    return behind.job


async def test_requests_pass_and_both_ends_say_over_what(behind: Behind, job: Proxied) -> None:
    assert (await job.ask("/x")).status == 200
    await asyncio.gather(*(job.ask(f"/{number}") for number in range(20)))
    (shown,) = call(behind.router, "GET", "/connections")["connections"]
    assert shown["pipes"]["over"] == "websocket"
    assert shown["pipes"]["open"] == shown["pipes"]["busy"] + shown["pipes"]["idle"] + shown["pipes"]["warm"]
    with urllib.request.urlopen(behind.agent.url() + "/connections", timeout=20) as answer:
        (other,) = json.load(answer)["connections"]
    assert other["pipes"]["over"] == "websocket"
    assert other["pipes"]["open"] >= 1
    if behind.box.kind == "strict":
        assert behind.box.told() == ["refused prouter-pipe/1"], "what does not pass is tried once"


async def test_large_bodies_pass_whole_both_ways(behind: Behind, job: Proxied) -> None:
    size = (64 if behind.box.kind == "nginx" else 8) * MIB
    part = os.urandom(MIB)
    async with job.wired() as wire:
        await wire.send(job.request(f"/sink?bytes={size}", f"Content-Length: {size}", method="POST"))
        sent = hashlib.sha256()
        for _ in range(size // len(part)):
            sent.update(part)
            await wire.send(part)
        assert (await wire.answer()).body == sent.hexdigest().encode()
        job.says("whole", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + part * (size // MIB))
        await wire.send(job.request("/say/whole?then=keep"))
        assert int((await wire.head()).get("content-length") or "0") == size
        got, left = hashlib.sha256(), size
        while left:
            data = await wire.reader.read(min(left, MIB))
            assert data
            got.update(data)
            left -= len(data)
        assert got.hexdigest() == sent.hexdigest()
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")


async def test_a_half_close_passes_and_bytes_behind_it_come_back(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(job.request("/tunnel", *UPGRADE) + b"early")
        assert (await wire.head()).status == 101
        assert await wire.exactly(8) == b"hi\0early"
        wire.writer.write(b"last" * MIB)
        wire.writer.write_eof()
        assert await wire.rest() == (b"last" * MIB + b"bye", "end")


@pytest.mark.parametrize("kind", ["length", "until close"])
async def test_a_job_that_is_killed_is_a_cut(make_job: Callable[[], Proxied], kind: str) -> None:
    job = make_job()
    async with job.wired() as wire:
        await begun(job, wire, kind)
        os.kill(job.info["pid"], signal.SIGKILL)
        await is_cut(wire, kind)


async def test_a_job_that_resets_is_a_cut_and_one_that_closes_ends(job: Proxied) -> None:
    job.says("begun", b"HTTP/1.1 200 OK\r\n\r\nbegun")
    for then, end in (("reset", "reset"), ("close", "end")):
        async with job.wired() as wire:
            await wire.send(job.request(f"/say/begun?then={then}"))
            assert (await wire.rest())[1] == end


async def test_a_client_that_goes_away_is_gone_for_the_job(make_job: Callable[[], Proxied]) -> None:
    job = make_job()
    async with job.wired() as wire:
        await begun(job, wire, "length", then="hang")
        assert not (job.sandbox / "gone").exists()
    await eventually(lambda: (job.sandbox / "gone").exists(), seconds=5)


async def test_a_client_that_does_not_read_holds_up_the_job_and_fills_nobodys_memory(job: Proxied) -> None:
    assert (await job.ask("/x")).status == 200
    before = job.router.memory_bytes(), job.agent.memory_bytes()
    async with job.wired() as wire:
        await wire.send(job.request(f"/big?bytes={256 * MIB}"))
        assert (await wire.head()).status == 200
        wire.writer.transport.pause_reading()
        assert (await job.ask("/beside")).status == 200
        await asyncio.sleep(0.5)  # for which it could grow; there is no state to wait for
    for old, new in zip(before, (job.router.memory_bytes(), job.agent.memory_bytes()), strict=True):
        assert new - old < 24 * MIB


async def test_files_archives_and_output_go_the_same_way(behind: Behind, tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 1)
    (tmp_path / "up").write_bytes(content)
    async with behind.router.client() as client:
        made = await client.create({"type": "uid", "uid": behind.agent.uid}, "files")
        told = await made.upload(tmp_path / "up", "there")
        assert told["sha256"] == hashlib.sha256(content).hexdigest()
        assert await made.read("there") == content
        async with client.session.get(client.url + made.path + "/archive") as answer:
            assert answer.status == 200
            assert content in await answer.read()
        program = "import sys; sys.stdout.write('line\\n' * 100000)"
        await made.start([sys.executable, "-c", program], port_expected_count=0)
        await made.wait()
        async with client.session.get(client.url + made.path + "/output?stream=stdout") as answer:
            assert await answer.read() == b"line\n" * 100000
    (shown,) = call(behind.router, "GET", "/connections")["connections"]
    assert shown["pipes"]["over"] == "websocket"


async def test_a_middlebox_that_loses_the_answer_costs_no_get_that_comes_first(fleet: Fleet) -> None:
    """The router has a pipe then that is none."""
    behind = Behind(fleet, "losing", "agent")
    try:
        job = behind.job()
        assert (await job.ask("/first")).status == 200
        assert [(await job.ask("/x", "Content-Length: 0", method="POST")).status for _ in range(3)] == [200] * 3
        (shown,) = call(behind.router, "GET", "/connections")["connections"]
        assert shown["pipes"]["over"] == "websocket"
    finally:
        behind.close()


def test_the_strict_relay_saw_nothing_that_is_no_websocket(behind: Behind) -> None:
    """Last of these tests: it has read every frame of them."""
    if behind.box.kind == "strict":
        assert behind.box.told() == ["refused prouter-pipe/1"]

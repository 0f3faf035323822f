"""A switch to another protocol is the job's to grant or refuse; behind it every byte and every end passes."""

from __future__ import annotations

import pytest
from proxied import Proxied

from prouter.testing import eventually

UPGRADE = ("Connection: upgrade", "Upgrade: torture", "X-Asked: yes")


async def test_another_protocol_passes_with_its_bytes_and_its_half_closes(make_job) -> None:
    job = make_job()
    async with job.wired() as wire:
        await wire.send(job.request("/tunnel", *UPGRADE) + b"early")
        head = await wire.head()
        assert (head.status, head.get("upgrade"), head.get("x-own")) == (101, "torture", "yes")
        assert await wire.exactly(8) == b"hi\0early"
        await wire.send(b"GET / HTTP/1.1\r\n\r\n\0\xff")
        assert await wire.exactly(20) == b"GET / HTTP/1.1\r\n\r\n\0\xff"
        wire.writer.write_eof()
        assert await wire.rest() == (b"bye", "end")
    heard = b"".join(job.heard)
    assert b"Upgrade: torture\r\nConnection: Upgrade\r\n\r\n" in heard
    assert b"X-Asked: yes" in heard


async def test_a_client_that_resets_a_tunnel_resets_the_jobs_end(make_job) -> None:
    job = make_job()
    job.says("switched", b"HTTP/1.1 101 S\r\nUpgrade: torture\r\nConnection: Upgrade\r\n\r\n")
    async with job.wired() as wire:
        await wire.send(job.request("/say/switched?then=hang", *UPGRADE))
        assert (await wire.head()).status == 101
        wire.reset()
    await eventually(lambda: (job.sandbox / "gone").exists(), seconds=3)


async def test_a_job_that_resets_a_tunnel_resets_the_client(job: Proxied) -> None:
    job.says("switched", b"HTTP/1.1 101 S\r\nUpgrade: torture\r\nConnection: Upgrade\r\n\r\n")
    async with job.wired() as wire:
        await wire.send(job.request("/say/switched?then=reset", *UPGRADE))
        assert (await wire.rest())[1] == "reset"


@pytest.mark.parametrize("status", ["403 No", "426 Other", "200 OK", "302 Found"])
async def test_a_refusals_status_headers_and_body_reach_the_client(job: Proxied, status: str) -> None:
    job.says("refused", f"HTTP/1.1 {status}\r\nX-Why: 1\r\nX-Why: 2\r\nContent-Length: 3\r\n\r\nno!".encode())
    async with job.wired() as wire:
        await wire.send(job.request("/say/refused?then=keep", *UPGRADE))
        answer = await wire.answer()
        assert (f"{answer.status}", answer.all("x-why"), answer.body) == (status[:3], ["1", "2"], b"no!")
        await wire.send(job.request("/after"))
        assert (await wire.answer()).body.startswith(b"GET /after ")

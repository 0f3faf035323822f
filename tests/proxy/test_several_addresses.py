"""A job with several ports, one of them a unix socket: each is tortured alike, and none gets what is for another."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from proxied import APPS, Proxied, call

CHUNKS = b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Sum: 5\r\n\r\n"
PORTS = ("http", "side", "local")


@pytest.fixture(scope="session")
def several(make_job: Callable[..., Proxied]) -> dict[str, Proxied]:
    """One job by the name of its port."""
    other = make_job()
    created = call(
        other.router, "POST", "/jobs/create", {"agent": {"type": "uid", "uid": other.agent.uid}, "name": "several"}
    )
    ports = {"http": {"mode": "assign"}, "side": {"mode": "assign"}, "local": {"mode": "unix", "path": "app.sock"}}
    args = [sys.executable, str(APPS / "torture.py"), "{port:http}", "{port:side}", "app.sock"]
    info = call(other.router, "POST", created["path"] + "/start", {"args": args, "ports": ports})
    made = {name: Proxied(other.router, other.agent, info) for name in PORTS}
    for name, job in made.items():
        job.prefix = f"{info['path']}/port/{name}"
    return made


@pytest.mark.parametrize("name", PORTS)
async def test_bodies_ends_and_other_protocols_pass(several: dict[str, Proxied], name: str) -> None:
    job = several[name]
    job.says("until-close", b"HTTP/1.0 200 OK\r\n\r\nall of it")
    job.says("cut", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    async with job.wired() as wire:
        await wire.send(job.request("/a%2Fb//;x?y", "Transfer-Encoding: chunked", method="POST") + CHUNKS)
        answer = await wire.answer()
        assert answer.body.startswith(b"POST /a%2Fb//;x?y HTTP/1.1\r\n")
        assert answer.body.endswith(b"\r\n\r\n" + CHUNKS)
        await wire.send(job.request("/big?bytes=1000000"))
        assert (await wire.answer()).body == b"x" * 1_000_000
        await wire.send(job.request("/tunnel", "Connection: Upgrade", "Upgrade: torture") + b"early")
        assert (await wire.head()).status == 101
        assert await wire.exactly(8) == b"hi\0early"
        wire.writer.write_eof()
        assert await wire.rest() == (b"bye", "end")
    for said, body in (("until-close", b"all of it"), ("cut", b"half")):
        async with job.wired() as wire:
            await wire.send(job.request(f"/say/{said}?then=close"))
            assert (await wire.head()).status == 200
            assert (await wire.rest())[0] == body


async def test_one_connection_leads_to_each_of_them_in_turn(several: dict[str, Proxied]) -> None:
    hosts = {name: several[name].info["ports"][name] for name in ("http", "side")}
    async with several["http"].wired() as wire:
        for _ in range(4):
            for name, job in several.items():
                await wire.send(job.request(f"/{name}"))
                said = (await wire.answer()).body.decode()
                assert said.startswith(f"GET /{name} HTTP/1.1\r\n")
                assert f"Host: 127.0.0.1:{hosts[name]}\r\n" in said if name in hosts else "Host: localhost\r\n" in said
                assert f"X-Forwarded-Prefix: {job.prefix}\r\n" in said


@pytest.mark.parametrize("name", PORTS)
async def test_what_was_kept_and_just_closed_is_tried_once_more(several: dict[str, Proxied], name: str) -> None:
    job = several[name]
    assert (await job.ask("/once")).body == b"first"
    assert (await job.ask("/again")).body.startswith(b"GET /again ")

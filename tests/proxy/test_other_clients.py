"""Clients that know nothing of us: curl, httpx and aiohttp, with what each of them does in its own way."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import httpx
import pytest
from proxied import Proxied

DATA = bytes(range(256)) * 8192
"""2 MiB: curl waits for a 100 before it sends so much."""
DIGEST = hashlib.sha256(DATA).hexdigest()
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /landed\r\nSet-Cookie: seen=yes; Path=/\r\nContent-Length: 0\r\n\r\n"
TRAILED = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"


def url(job: Proxied, rest: str) -> str:
    return job.router.url() + job.prefix + rest


async def curl(job: Proxied, rest: str, *options: str, codes: tuple[int, ...] = (0,)) -> bytes:
    program = shutil.which("curl")
    if program is None:
        assert "CI" not in os.environ, "there is no curl"
        pytest.skip("there is no curl")
    process = await asyncio.create_subprocess_exec(
        program, "-sS", "-m", "30", "--noproxy", "*", *options, url(job, rest),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complaint = await process.communicate()
    assert process.returncode in codes, complaint
    return said


async def test_curl_sends_a_file_and_waits_for_leave(job: Proxied, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    rest = f"/sink?bytes={len(DATA)}"
    sent = await curl(job, rest, "--data-binary", f"@{tmp_path / 'data'}", "-H", "Expect: 100-continue")
    assert sent.decode() == DIGEST
    chunked = await curl(job, "/echo", "-X", "POST", "-H", "Transfer-Encoding: chunked", "-d", "some words")
    assert b"\r\n\r\na\r\nsome words\r\n0\r\n\r\n" in chunked


async def test_curl_follows_a_redirect_with_its_cookie(job: Proxied, tmp_path: Path) -> None:
    job.says("moved", MOVED)
    body = await curl(job, "/say/moved?then=keep", "-L", "-c", str(tmp_path / "jar"))
    assert body.startswith(b"GET /landed HTTP/1.1\r\n")
    assert b"Cookie: seen=yes\r\n" in body


async def test_curl_with_head_and_http_1_0_and_trailers_and_several_at_once(job: Proxied) -> None:
    assert (await curl(job, "/x", "-I")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (await curl(job, "/x", "--http1.0")).startswith(b"GET /x HTTP/1.1\r\n")
    job.says("trailed", TRAILED)
    assert b"X-Sum: 1" in await curl(job, "/say/trailed?then=keep", "-i")
    assert (await curl(job, "/[a-d]?x=[1-3]")).count(b"GET /") == 12


async def test_curl_is_refused_what_is_not_spoken_here(job: Proxied) -> None:
    before = job.heard
    assert b"HTTP/1.1 400" in await curl(job, "/x", "--http2", "-i")
    await curl(job, "/x", "--http2-prior-knowledge", codes=(16, 52, 56))
    proxy = job.router.url()
    assert b"HTTP/1.1 400" in await curl(job, "/x", "-i", "--noproxy", "", "--proxy", proxy)
    await curl(job, "/x", "--noproxy", "", "--proxytunnel", "--proxy", proxy, codes=(56,))
    assert job.heard == before


async def test_httpx_streams_both_ways_on_one_connection(job: Proxied) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(DATA), 100_000):
            yield DATA[at : at + 100_000]

    job.says("moved", MOVED)
    job.says("trailed", TRAILED)
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
        length = {"Content-Length": str(len(DATA))}
        sent = await client.post(url(job, f"/sink?bytes={len(DATA)}"), content=parts(), headers=length)
        assert sent.text == DIGEST
        async with client.stream("GET", url(job, "/big?bytes=3000000")) as answer:
            assert sum([len(part) async for part in answer.aiter_bytes()]) == 3_000_000
        landed = await client.get(url(job, "/say/moved?then=keep"))
        assert landed.url.path == f"{job.prefix}/landed"
        assert "Cookie: seen=yes" in landed.text
        assert (await client.get(url(job, "/say/trailed?then=keep"))).text == "ok"
        chunked = await client.put(url(job, "/x"), content=parts())
        assert chunked.status_code == 200
        assert len(chunked.content) > len(DATA)


async def test_aiohttp_with_many_requests_at_once(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20)) as session:

        async def one(number: int) -> None:
            body = io.BytesIO(b"%d" % number * number)
            async with session.request("POST" if number % 2 else "GET", url(job, f"/{number}"), data=body) as answer:
                said = await answer.read()
                assert f" /{number} HTTP/1.1".encode() in said.partition(b"\r\n")[0]
                assert said.endswith(b"\r\n\r\n" + body.getvalue())

        await asyncio.gather(*(one(number) for number in range(1, 120)))

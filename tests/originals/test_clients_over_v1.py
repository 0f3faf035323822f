"""Clients that know nothing of us, where the agent is an original: curl, httpx, aiohttp and a page in Chromium."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import httpx
from test_in_a_browser import is_loaded
from test_other_clients import DATA, DIGEST, curl, url
from tortured import OnV1

from chromium import opened


async def test_curl_sends_a_file_and_waits_for_leave(v1_job: OnV1, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    rest = f"/sink?bytes={len(DATA)}"
    sent = await curl(v1_job, rest, "--data-binary", f"@{tmp_path / 'data'}", "-H", "Expect: 100-continue")
    assert sent.decode() == DIGEST
    v1_job.says("head", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert b"Content-Length: 1000\r\n" in await curl(v1_job, "/say/head?then=keep", "-I")
    assert (await curl(v1_job, "/x", "--http1.0")).startswith(b"GET /x HTTP/1.1\r\n")
    assert (await curl(v1_job, "/[a-d]?x=[1-3]")).count(b"GET /") == 12


async def test_httpx_streams_both_ways_on_one_connection(v1_job: OnV1) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(DATA), 100_000):
            yield DATA[at : at + 100_000]

    async with httpx.AsyncClient(trust_env=False) as client:
        length = {"Content-Length": str(len(DATA))}
        sent = await client.post(url(v1_job, f"/sink?bytes={len(DATA)}"), content=parts(), headers=length)
        assert sent.text == DIGEST
        async with client.stream("GET", url(v1_job, "/big?bytes=3000000")) as answer:
            assert sum([len(part) async for part in answer.aiter_bytes()]) == 3_000_000
        chunked = await client.put(url(v1_job, "/x"), content=parts())
        assert chunked.status_code == 200
        assert len(chunked.content) > len(DATA)


async def test_aiohttp_with_many_requests_at_once(v1_job: OnV1) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20)) as session:

        async def one(number: int) -> None:
            data = b"%d" % number * number
            async with session.post(url(v1_job, f"/sink?bytes={len(data)}"), data=io.BytesIO(data)) as answer:
                assert await answer.text() == hashlib.sha256(data).hexdigest()

        await asyncio.gather(*(one(number) for number in range(1, 60)))


async def test_a_page_of_a_job(make_v1_job: Callable[..., OnV1], tmp_path: Path) -> None:
    """But for redirects, which the agent follows itself; of subprotocols the client's first is taken."""
    job = make_v1_job("browsed.py")
    async with opened(tmp_path / "profile", url(job, "/")) as page:
        await is_loaded(page)
        assert await page.value("verbs()") == ["GET", "PUT", "DELETE", "PATCH", "PROPFIND"]
        assert await page.value("upload(3000000)") == [True, "multipart/form-data"]
        assert await page.value("streamed()") == ["first ", "second"]
        assert await page.value("left()") == "left"
        assert await page.value("events()") == [["1", "after nothing"], ["2", "two\nlines"], "after 2"]
        assert await page.value("cached()") == [["visit 1", "visit 1"], 2]
        assert await page.value("many(30)") is True
        assert await page.value("refused()") == [403, "not today", 1006]
        await page.value("document.cookie = 'mine=1'")
        assert await page.value("socket(2000000)") == {
            "protocol": "other",
            "extensions": "",
            "greeting": "0 http://localhost mine=1",
            "text": "words and ü",
            "same": True,
            "closed": [1000, "", True],
            "none": "",
            "mine": [1000, "", True],
            "heard": [1000, ""],
        }

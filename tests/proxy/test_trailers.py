"""What stands behind a request's body is of that request only: there are servers, aiohttp's among them, that add it to
the headers of the next request of their connection, which may be somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from any_order import to_router
from proxied import Proxied

CHUNKED = "Transfer-Encoding: chunked"
BODY = b"2\r\nhi\r\n0\r\n%b\r\n"


@pytest.fixture(scope="session")
def site(make_job: Callable[..., Proxied]) -> Proxied:
    """A job that is an aiohttp server."""
    return make_job("browsed.py")


async def test_they_reach_the_job_and_no_request_behind_them(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    for trailers in (b"X-Sum: 5\r\n", b"X-Sum: 5\r\nCookie: a=b\r\n"):
        sent = await job.ask("/with", CHUNKED, method="POST", body=BODY % trailers)
        assert sent.body.endswith(BODY % trailers)
        assert (await job.ask("/behind")).status == 200
    assert sorted(heard.count(b"/behind") for heard in job.heard if b"X-Sum" in heard) == [0, 1]
    assert not any(b"/behind " in heard.rpartition(b"X-Sum")[2] for heard in job.heard if b"X-Sum" in heard)


async def test_another_client_of_a_server_that_mixes_them_up_has_none_of_them(site: Proxied) -> None:
    for lie in (b"Cookie: user=root\r\n", b"Cookie: user=root\r\nOrigin: evil\r\n"):
        assert (await site.ask("/echo/with", CHUNKED, method="POST", body=BODY % lie)).status == 200
        said = json.loads((await site.ask("/echo/behind")).body)
        assert (said["cookie"], said["origin"]) == (None, None)


async def test_nor_has_one_of_the_agents_own_service(job: Proxied) -> None:
    path = job.info["path"]
    upload = to_router(job, f"POST {path}/file/whole", CHUNKED) + BODY % b"Range: bytes=0-0\r\nIf-None-Match: *\r\n"
    for _ in range(3):
        async with job.wired() as wire:
            await wire.send(upload)
            assert (await wire.answer()).status == 200
            await wire.send(to_router(job, f"GET {path}/file/whole"))
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, b"hi")


async def test_a_body_in_chunks_without_any_costs_no_connection(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    async with job.wired() as wire:
        await wire.send((job.request("/x", CHUNKED, method="POST") + BODY % b"") * 6)
        for _ in range(6):
            assert (await wire.answer()).status == 200
    assert max(heard.count(b"POST /x ") for heard in job.heard) > 1

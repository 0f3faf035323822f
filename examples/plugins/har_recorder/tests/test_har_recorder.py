"""Requests to a job on a live agent, and what the file says of them."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prouter_har_recorder import HarRecorder

from prouter import hookspecs, implements
from prouter.client import Client, Job, RequestFailed
from prouter.model.access import Peer, Principal
from prouter.model.http import RequestHead
from prouter.testing import AgentHere, Fleet, RouterHere, Setup, assert_contract, eventually

PLUGIN = {"har_recorder": HarRecorder}
SERVER = """
import os
from aiohttp import web

async def answer(request):
    await request.read()
    if request.path == "/cut":
        os._exit(1)
    if request.path == "/moved":
        return web.Response(status=302, headers={"Location": "/there?session_token=s3cr3t&page=2"})
    response = web.Response(text="x" * 1000, headers={"X-Api-Key": "s3cr3t"})
    response.set_cookie("session", "s3cr3t")
    return response

async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.send_str("hello")
    await ws.close()
    return ws

app = web.Application()
app.router.add_get("/ws", socket)
app.router.add_route("*", "/{rest:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
"""


@pytest.fixture
def prouter_setup() -> Setup:
    return Setup(plugins=PLUGIN)


@pytest.fixture
async def client(router: RouterHere, agent: AgentHere) -> AsyncIterator[Client]:
    async with router.client() as made:
        yield made


async def serving(client: Client, agent: str, **labels: str) -> Job:
    job = await client.create({"type": "uid", "uid": agent}, "job", labels=labels)
    return await job.start([sys.executable, "-c", SERVER], port={"mode": "assign"})


@pytest.fixture
async def job(client: Client, agent: AgentHere) -> Job:
    return await serving(client, agent.uid, record="har")


async def asked(client: Client, job: Job, path: str, verb: str = "GET", **more: Any) -> None:
    async with client.session.request(verb, job.url() + path, allow_redirects=False, **more) as answer:
        await answer.read()


async def entries(client: Client, job: Job, count: int) -> list[dict[str, Any]]:
    """Once there are so many; news of ends come a moment later."""

    async def there() -> list[dict[str, Any]]:
        try:
            log = (await client.request("GET", f"{job.path}/har"))["log"]
        except RequestFailed:
            return []
        assert log["version"] == "1.2"
        assert log["creator"]["name"] == "prouter"
        found: list[dict[str, Any]] = log["entries"]
        return found if len(found) >= count else []

    found: list[dict[str, Any]] = await eventually(there, what=f"{count} entries")
    assert len(found) == count
    return found


def named(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["name"].lower(): pair["value"] for pair in pairs}


async def test_a_request_is_an_entry_with_heads_sizes_and_times(client: Client, job: Job) -> None:
    body = {"data": io.BytesIO(b"y" * 300), "headers": {"X-Mine": "1"}}
    await asked(client, job, "a%20page?q=one+two&r=", "POST", **body)
    (found,) = await entries(client, job, 1)
    request, response, timings = found["request"], found["response"], found["timings"]
    assert request["method"] == "POST"
    assert request["url"] == job.url() + "a%20page?q=one+two&r="
    assert request["queryString"] == [{"name": "q", "value": "one two"}, {"name": "r", "value": ""}]
    assert named(request["headers"])["x-mine"] == "1"
    assert request["bodySize"] == 300
    assert (response["status"], response["statusText"], response["httpVersion"]) == (200, "OK", "HTTP/1.1")
    assert response["content"] == {"size": 1000, "mimeType": "text/plain; charset=utf-8"}
    assert found["startedDateTime"].endswith("Z")
    assert found["time"] == pytest.approx(sum(timings.values()))
    assert min(timings.values()) >= 0


async def test_nothing_secret_is_in_it(client: Client, job: Job, router: RouterHere) -> None:
    headers = {
        "Authorization": "Bearer s3cr3t",
        "X-Secret-Sauce": "s3cr3t",
        "Cookie": "a=s3cr3t",
        "Referer": "http://else/?code=s3cr3t&lang=en",
    }
    await asked(client, job, "?access_token=s3cr3t&page=1", headers=headers)
    await asked(client, job, "moved")
    first, moved = await entries(client, job, 2)
    assert first["request"]["url"].endswith("?access_token=***&page=1")
    assert named(first["request"]["headers"])["referer"] == "http://else/?code=***&lang=en"
    assert named(first["response"]["headers"])["set-cookie"] == "***"
    assert moved["response"]["redirectURL"].endswith("/there?session_token=***&page=2")
    assert "s3cr3t" not in str([first, moved])
    (file,) = router.services.state_directory.parent.rglob("*.jsonl")
    assert b"s3cr3t" not in file.read_bytes()


class Lab:
    """An authenticator with a header of its own."""

    @implements(hookspecs.prouter_authenticate_request)
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | None:
        found = head.get("x-lab")
        return Principal("ada", used_headers=frozenset({"x-lab"})) if found else None


@pytest.mark.prouter(plugins={"lab": Lab}, settings=["access.authenticators=['lab', 'token_auth']"])
async def test_what_the_router_took_as_credentials_is_hidden(client: Client, job: Job) -> None:
    await asked(client, job, "", headers={"X-Lab": "s3cr3t"})
    (found,) = await entries(client, job, 1)
    assert named(found["request"]["headers"])["x-lab"] == "***"


async def test_requests_at_once_are_told_apart_even_with_one_id(client: Client, job: Job) -> None:
    headers = {"X-Request-Id": "the-same-for-all"}
    await asyncio.gather(*(asked(client, job, f"?n={n}", headers=headers | {"X-Mine": str(n)}) for n in range(20)))
    found = await entries(client, job, 20)
    for one in found:
        assert one["request"]["queryString"][0]["value"] == named(one["request"]["headers"])["x-mine"]


async def test_a_websocket_is_one_entry_and_a_cut_is_told(client: Client, job: Job) -> None:
    async with client.session.ws_connect(job.url() + "ws") as socket:
        assert await socket.receive_str() == "hello"
        await socket.receive()
    await entries(client, job, 1)
    with pytest.raises(aiohttp.ClientError):
        await check(client, job, "cut")
    socket_entry, cut = await entries(client, job, 2)
    assert socket_entry["response"]["status"] == 101
    assert socket_entry["response"]["bodySize"] >= 7
    assert cut["comment"]


async def check(client: Client, job: Job, path: str) -> None:
    async with client.session.get(job.url() + path, raise_for_status=True) as answer:
        await answer.read()


async def test_only_labelled_jobs_are_recorded(client: Client, agent: AgentHere) -> None:
    job = await serving(client, agent.uid, record="no")
    await asked(client, job, "")
    with pytest.raises(RequestFailed, match="needs the label record=har") as refused:
        await client.request("GET", f"{job.path}/har")
    assert refused.value.http_status == 404


@pytest.mark.prouter(settings=["har_recorder.max_bytes=3000"])
async def test_a_file_does_not_grow_without_end(client: Client, job: Job, router: RouterHere) -> None:
    for number in range(10):
        await asked(client, job, f"?n={number}")
    (file,) = await eventually(lambda: list(router.services.state_directory.parent.rglob("*.jsonl")))
    await eventually(lambda: file.stat().st_size >= 3000)
    found = await client.request("GET", f"{job.path}/har")
    assert len(found["log"]["entries"]) < 10
    assert file.stat().st_size < 6000


async def test_a_recording_outlives_the_router_and_ends_with_the_job(fleet: Fleet) -> None:
    router = fleet.router("server.port=0", plugins=PLUGIN)
    agent = fleet.agent(plugins=())
    host, port = agent.address("server")
    locator = {"type": "address", "address": f"{host}:{port}", "token": agent.token}
    async with router.client() as client:
        job = await client.create(locator, "job", labels={"record": "har"})
        await job.start([sys.executable, "-c", SERVER], port={"mode": "assign"})
        await asked(client, job, "")
        await entries(client, job, 1)
    assert router.stop() == 0
    router.start()
    async with router.client() as client:
        other = await client.create(locator, "another")  # so that the agent is dialed again
        await eventually(lambda: known(client, job))
        again = Job(client, {**job.info})
        await asked(client, again, "")
        await entries(client, again, 2)
        await client.request("DELETE", job.path)
        await eventually(lambda: not recorded(router.place))
        await other.remove()


async def known(client: Client, job: Job) -> bool:
    return any(found.path == job.path for found in await client.jobs())


def recorded(place: Path) -> list[Path]:
    return list(place.rglob("har_recorder/*.jsonl"))


async def test_it_keeps_what_is_promised_of_any_plugin() -> None:
    await assert_contract(HarRecorder, "plugin", name="har_recorder")

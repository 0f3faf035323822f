"""Limits of the configuration: at a limit all is well, beyond it the answer says so, and nothing else suffers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prouter.agent.jobs.ports import MAX_PORTS
from prouter.agent.methods import PAGE
from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import MAX_LABELS, JobRecord, Port, Sender
from prouter.model.resources import MAX_NAMES
from prouter.rpc.limits import Limits
from prouter.rpc.messages import CalleeData, encode
from prouter.testing import Fleet, RouterDaemon, eventually
from prouter.testing.fleet import serving_job


async def raw_get(router: RouterDaemon, *lines: str, target: str = "/info") -> int:
    """The status of one request with these header lines beside Host."""
    host, port = router.address("control")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}:{port}", *lines, "", ""])
        writer.write(head.encode())
        async with asyncio.timeout(20):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def still_works(router: RouterDaemon) -> bool:
    async with router.client() as client:
        return bool(await client.info())


async def test_header_lines_are_counted(fleet: Fleet) -> None:
    router = fleet.router("limits.header_count=10")
    assert await raw_get(router, *(f"X-{number}: 1" for number in range(9))) == 200
    assert await raw_get(router, *(f"X-{number}: 1" for number in range(10))) == 431
    assert await still_works(router)


async def test_heads_and_targets_have_a_length(fleet: Fleet) -> None:
    router = fleet.router("limits.head_bytes=4096", "limits.target_bytes=1024")
    assert await raw_get(router, "X-Long: " + "a" * 3500) == 200
    assert await raw_get(router, "X-Long: " + "a" * 5000) == 431
    assert await raw_get(router, target="/info?" + "a" * 1000) == 200
    assert await raw_get(router, target="/info?" + "a" * 1100) == 414
    assert await still_works(router)


async def create(client: Client, agent: str) -> int:
    body = {"agent": {"type": "uid", "uid": agent}}
    async with client.session.post(f"{client.url}/jobs/create", json=body) as answer:
        assert answer.status == 200 or "limit" in await answer.text()
        return answer.status


@pytest.mark.parametrize("owner", ["router", "agent"])
async def test_jobs_of_an_agent_are_counted_by_router_and_agent(fleet: Fleet, owner) -> None:
    router = fleet.router(*(["jobs.max_per_agent=2"] if owner == "router" else []))
    agent = fleet.agent(router, *(["jobs.max_count=2"] if owner == "agent" else []))
    other = fleet.agent(router)
    for one in (agent, other):
        await router.agent_is_there(one)
    async with router.client() as client:
        assert [await create(client, agent.uid) for _ in range(3)] == [200, 200, 429]
        assert await create(client, other.uid) == 200
        await (await client.jobs())[0].remove()
        assert await create(client, agent.uid) == 200


@pytest.mark.parametrize("kind", ["uid", "labels", "select"])
async def test_jobs_of_an_agent_are_counted_while_many_are_made_at_once(fleet: Fleet, kind: str) -> None:
    router = fleet.router("jobs.max_per_agent=3")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    locator = {"uid": {"uid": agent.uid}, "labels": {"match": {}}, "select": {"uids": [agent.uid]}}[kind]
    async with router.client() as client:

        async def make() -> int:
            try:
                await client.create({"type": kind, **locator})
            except RequestFailed as refused:
                return refused.http_status
            return 200

        statuses = await asyncio.gather(*(make() for _ in range(12)))
        assert sorted(statuses) == [200] * 3 + [429] * 9
        assert len(await client.jobs()) == 3
        async with client.session.post(f"{client.url}/jobs/create", json={"agent": {"type": kind, **locator}}) as full:
            assert full.headers["Retry-After"] == "10"


@pytest.mark.parametrize("owner", ["router", "agent"])
@pytest.mark.parametrize("kind", ["labels", "select"])
async def test_an_agent_that_keeps_all_the_jobs_it_may_is_no_choice(fleet: Fleet, owner: str, kind: str) -> None:
    """Nothing runs there, so it is the least loaded; another one takes the job, until that is full, too."""
    router = fleet.router(*(["jobs.max_per_agent=2"] if owner == "router" else []))
    limit = ["jobs.max_count=2"] if owner == "agent" else []
    full, other = (fleet.agent(router, *limit) for _ in range(2))
    for one in (full, other):
        await router.agent_is_there(one)
    locator = {"labels": {"match": {}}, "select": {"uids": [full.uid, other.uid]}}[kind]
    async with router.client() as client:
        for _ in range(2):
            job = await client.create({"type": "uid", "uid": full.uid})
            await (await job.start(["true"], port_expected_count=0)).wait()
        busy = await client.create({"type": "uid", "uid": other.uid})
        await busy.start(["sleep", "60"], port_expected_count=0)
        taken = await client.create({"type": kind, **locator})
        assert taken.info["agent"]["uid"] == other.uid
        with pytest.raises(RequestFailed) as refused:
            await client.create({"type": kind, **locator})
        assert refused.value.http_status == 429


async def test_a_job_that_is_there_already_needs_no_room(fleet: Fleet) -> None:
    router = fleet.router("jobs.max_per_agent=1")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    body = {"agent": {"type": "uid", "uid": agent.uid}, "uid": new_uid()}
    async with router.client() as client:
        first = await client.request("POST", "/jobs/create", body)
        assert (await client.request("POST", "/jobs/create", body))["uid"] == first["uid"]


async def test_a_json_body_has_a_length(fleet: Fleet) -> None:
    router = fleet.router("limits.json_body_bytes=2048")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        body = {"agent": {"type": "uid", "uid": agent.uid}, "name": "a" * 500}
        await client.request("POST", "/jobs/create", body)
        with pytest.raises(RequestFailed) as refused:
            await client.request("POST", "/jobs/create", body | {"labels": {"a": "b" * 3000}})
    assert refused.value.http_status == 413
    assert "2048" in str(refused.value)


async def test_a_json_body_has_so_many_elements(fleet: Fleet) -> None:
    router = fleet.router("limits.json_elements=100")
    async with router.client() as client:

        async def answer(locator: dict[str, Any], **more: object) -> RequestFailed:
            with pytest.raises(RequestFailed) as refused:
                await client.request("POST", "/jobs/create", {"agent": {"type": "uid", **locator}, **more})
            return refused.value

        fits = {f"label{number}": "" for number in range(46)}
        assert (await answer({"uid": "nobody"}, labels=fits, resources={"a": 1}, name="" * 46)).http_status == 404
        for many in (["a"] * 98, [[], *[["a"]] * 49], {f"k{number}": {"": 1} for number in range(50)}):
            refused = await answer({"uid": many})
            assert refused.http_status == 413
            assert "100 elements" in str(refused)
        assert (await answer({"uid": ["a"] * 97})).http_status == 400


async def test_a_locator_with_many_mistakes_is_told_some_of_them(fleet: Fleet) -> None:
    """Beyond a list's own limit its members are not looked at; and so many of them stop nobody."""
    router = fleet.router()
    uids = {"type": "select", "uids": [1] * 500}
    wrong = {"type": "labels", "match": {f"k{number}": 1 for number in range(90)}}
    too_many = {"type": "select", "uids": [1] * 60_000}
    more = {"type": "labels", "match": {f"k{number}": 1 for number in range(60_000)}}
    most = {"type": "select", "uids": [1] * 200_000}
    async with router.client() as client:
        for locator, mistakes in ((uids, 20), (wrong, 20), (too_many, 1), (more, 1)):
            async with client.session.post(f"{client.url}/jobs/create", json={"agent": locator}) as answer:
                assert answer.status == 400
                told = await answer.json(content_type=None)
            assert len(told["errors"]) == mistakes
            assert told["errors"][0]["pointer"].startswith("/agent/")
        async with client.session.post(f"{client.url}/jobs/create", json={"agent": most}) as answer:
            assert answer.status == 413


TOO_MANY: dict[str, dict[str, Any]] = {
    "arguments": {"args": ["true"] * 70_000},
    "variables": {"args": ["true"], "env": {f"A{number}": "" for number in range(40_000)}},
}


@pytest.mark.parametrize("many", TOO_MANY.values(), ids=TOO_MANY)
async def test_a_start_of_more_texts_than_a_link_takes_is_refused_and_nobody_else_suffers(fleet: Fleet, many) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        link = (await client.request("GET", "/connections"))["connections"][0]["uid"]
        job, other = [await client.create({"type": "uid", "uid": agent.uid}, "job") for _ in range(2)]
        await other.start(["sleep", "60"], port_expected_count=0)
        async with asyncio.TaskGroup() as group:
            waits = group.create_task(other.stop(grace_seconds=5))
            with pytest.raises(RequestFailed) as refused:
                await client.request("POST", f"{job.path}/start", many | {"port_expected_count": 0})
            assert (await waits).info["reason"] == "stopped"
        assert refused.value.http_status == 413
        assert "65536" in str(refused.value)
        assert (await client.request("GET", "/connections"))["connections"][0]["uid"] == link
        assert (await job.refresh()).info["state"] == "NEW"
        assert (await job.start(["true"], port_expected_count=0)).info["uid"] == job.info["uid"]


def test_as_many_jobs_as_a_watch_tells_at_once_fit_into_a_message_whatever_they_have() -> None:
    most = JobRecord(
        JobUid(new_uid()),
        "",
        Sender("CLIENT", "r", ""),
        labels={f"l{number}": "" for number in range(MAX_LABELS)},
        ports={name: Port(name, 1) for name in map(str, range(MAX_PORTS))},
        resources={f"r{number}": 1 for number in range(MAX_NAMES)},
    )
    told = {"jobs": [most.to_wire()] * PAGE, "more": True}
    assert encode(CalleeData(1, told), Limits().stream_bytes, limits=Limits())


SLOW = """
import http.server, os, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        time.sleep(60 if self.path == "/slow" else 0)
    def log_message(self, *_): ...
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Slow).serve_forever()
"""


async def test_an_agent_s_pipes_are_counted_and_one_more_is_told(fleet: Fleet) -> None:
    """The agent refuses those, too, that the router keeps warm; that is nothing to warn of."""
    router, agent = await fleet.pair("pipes.max_count=2")
    async with router.client() as client:
        job = await serving_job(client, agent, SLOW)
        slow = [await client.session.get(f"{client.url}{job.path}/http/slow") for _ in range(2)]
        assert [answer.status for answer in slow] == [200, 200]
        async with client.session.get(f"{client.url}{job.path}/http/") as refused:
            assert refused.status == 503
            assert "2 pipes, which is its limit" in (await refused.json(content_type=None))["detail"]
        for answer in slow:
            answer.close()

        async def is_served_again() -> bool:
            async with client.session.get(f"{client.url}{job.path}/http/") as answer:
                return answer.status == 200

        await eventually(is_served_again)
    assert "not bound yet" not in router.log


async def test_pipes_to_an_agent_itself_are_counted_as_those_to_its_jobs(fleet: Fleet) -> None:
    router, agent = await fleet.pair("pipes.max_count=2")
    async with router.client() as client:
        job = await serving_job(client, agent, SLOW)
        output = f"{client.url}{job.path}/output"
        followers = [await client.session.get(output, params={"follow": "1"}) for _ in range(2)]
        assert [answer.status for answer in followers] == [200, 200]
        async with client.session.get(output) as refused:
            assert refused.status == 503
            assert "2 pipes, which is its limit" in (await refused.json(content_type=None))["detail"]
        for answer in followers:
            answer.close()

        async def is_served_again() -> bool:
            async with client.session.get(output) as answer:
                return answer.status == 200

        await eventually(is_served_again)


async def test_connections_are_counted_and_one_more_is_told(fleet: Fleet) -> None:
    router = fleet.router("limits.connections=3")
    host, port = router.address("control")
    held = [await asyncio.open_connection(host, port) for _ in range(3)]
    try:
        reader, writer = await asyncio.open_connection(host, port)
        assert b" 503 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    finally:
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
    assert await still_works(router)

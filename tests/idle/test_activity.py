"""What a JobInfo says of the traffic through a job's ports: each way apart, and when."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import connect

from prouter.client import Client, Job
from prouter.testing import eventually
from prouter.testing.fleet import serving_job

OFTEN = "jobs.activity_interval=0.1"

RAW = """
import os, socket
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\nConnection: close\\r\\n\\r\\n"
with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))) as server:
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            while lines.readline().strip():
                pass
            connection.sendall(HEAD + bytes(100000))
"""
HEAD = "HTTP/1.1 200 OK\nContent-Length: 100000\nConnection: close\n\n"
HEAD_BYTES = len(HEAD) + HEAD.count("\n")

SOCKETS = """
import asyncio, os
from websockets.asyncio.server import serve
async def count(socket):
    async for message in socket:
        await socket.send(str(len(message)))
async def main():
    port = int(os.environ["PORT"])
    async with serve(count, "127.0.0.1", port, max_size=None, compression=None, ping_interval=None):
        await asyncio.Future()
asyncio.run(main())
"""


async def shown(job: Job) -> dict[str, Any]:
    """What the agent tells of it."""
    activity = dict((await job.refresh()).info["activity"])
    del activity["requests"]  # which this router counts
    return activity


async def until(job: Job, **wanted: object) -> dict[str, Any]:
    """The job's activity once it is so."""

    async def so() -> dict[str, Any] | None:
        activity = await shown(job)
        return activity if {name: activity.get(name) for name in wanted} == wanted else None

    return dict(await eventually(so, what=f"activity with {wanted}"))


@asynccontextmanager
async def fetched(client: Client, job: Job):
    async with client.session.get(job.url()) as answer:
        assert answer.status == 200
        yield answer


async def test_each_way_is_counted_apart(fleet) -> None:
    router, agent = await fleet.pair(OFTEN)
    async with router.client() as client:
        job = await serving_job(client, agent, RAW)
        quiet = await until(job, connections=0, bytes_in=0, bytes_out=0)
        assert quiet["last_activity"] is None
        for asked in (1, 2):
            async with fetched(client, job) as answer:
                assert len(await answer.read()) == 100_000
            once = await until(job, connections=0, bytes_out=asked * (100_000 + HEAD_BYTES))
            assert 0 < once["bytes_in"] < 2000 * asked
            assert once["last_activity"] > (quiet["last_activity"] or job.info["started_at"])
            quiet = once
        listed = next(found for found in await client.jobs() if found.path == job.path)
        assert listed.info["activity"] == {**quiet, "requests": 2}


async def test_an_open_websocket_is_a_connection_and_only_its_bytes_are_activity(fleet) -> None:
    router, agent = await fleet.pair(OFTEN)
    async with router.client() as client:
        job = await serving_job(client, agent, SOCKETS)
        url = job.url().replace("http://", "ws://", 1)
        async with connect(url, compression=None, ping_interval=None) as socket:
            opened = await until(job, connections=1)
            await socket.send(bytes(1000))
            assert await socket.recv() == "1000"
            frame, answer = 2 + 2 + 4 + 1000, 2 + 4
            told = await until(job, bytes_in=opened["bytes_in"] + frame)
            assert told["bytes_out"] == opened["bytes_out"] + answer
            assert told["last_activity"] > opened["last_activity"]
            await asyncio.sleep(0.5)
            assert await shown(job) == told, "silence counts for nothing"
            await (await socket.ping())
            assert (await until(job, bytes_in=told["bytes_in"] + 2 + 4 + 4))["last_activity"] > told["last_activity"]
        await until(job, connections=0)


async def test_a_router_that_comes_back_is_told_what_went_before(fleet) -> None:
    router, agent = await fleet.pair(OFTEN)
    async with router.client() as client:
        job = await serving_job(client, agent, RAW)
        async with fetched(client, job) as answer:
            await answer.read()
        before = await until(job, connections=0, bytes_out=100_000 + HEAD_BYTES)
    router.stay_put("server", "control")
    router.kill()
    router.start()
    await router.agent_is_there(agent)
    async with router.client() as client:
        await until(Job(client, job.info), **before)


async def test_a_job_without_traffic_has_zeros(fleet) -> None:
    router, agent = await fleet.pair(OFTEN)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "new")
        counts = {"connections": 0, "bytes_in": 0, "bytes_out": 0, "requests": 0}
        assert job.info["activity"] == {"last_activity": None, **counts}

"""Who asks for a job that waits for an agent gets to the router where it does, through HAProxy as in the examples."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from balanced import Pair, pair

from prouter.client import Client
from prouter.model.ids import new_uid
from prouter.testing import Fleet, eventually
from prouter.testing.fleet import serving_job

ANY: dict[str, Any] = {"type": "labels", "match": {}}
ACCEPTS = """
import http.server, itertools, os

NUMBERS = itertools.count()

class Accepts(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(202)
        self.send_header("Location", f"/api/tasks/{next(NUMBERS)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Accepts).serve_forever()
"""
ROUNDS = 6
"""By turns would be seen in two."""


async def status(client: Client, verb: str, path: str) -> int:
    async with client.session.request(verb, client.url + path) as answer:
        await answer.read()
        return answer.status


async def test_its_path_is_good_at_once_and_leads_to_its_queue(fleet: Fleet, tmp_path: Path) -> None:
    async with pair(fleet, tmp_path) as both, Client(both.url) as client:
        await drained(both)
        jobs = [await client.create(ANY, queue_seconds=60) for _ in range(4)]
        for job in jobs:
            seen = [await status(client, "GET", job.path) for _ in range(ROUNDS)]
            seen += [await status(client, "POST", f"{job.path}/wait?for=agent&timeout=0") for _ in range(ROUNDS)]
            assert seen == [200] * len(seen), "it is known where it is asked for"
        assert await status(client, "DELETE", jobs[0].path) == 200
        assert await status(client, "GET", jobs[0].path) == 404
        waiting = [asyncio.create_task(job.placed()) for job in jobs[1:]]
        async with both.routers[0].client() as one:
            await one.undrain(both.agent.uid)
        async with asyncio.timeout(20):
            placed = await asyncio.gather(*waiting)
        assert [job.info["agent"]["uid"] for job in placed] == [both.agent.uid] * 3


async def test_a_removal_is_one_routers_and_what_waited_at_a_dead_one_is_asked_for_anew(
    fleet: Fleet, tmp_path: Path
) -> None:
    async with pair(fleet, tmp_path) as both, Client(both.url) as client:
        await drained(both)
        uid = new_uid()
        async with both.routers[0].client() as one, both.routers[1].client() as two:
            for each in (one, two):
                await each.create(ANY, uid=uid, queue_seconds=60)
            await status(one, "DELETE", f"/jobs/{uid}")
            assert await status(two, "GET", f"/jobs/{uid}") == 200, "the other one still has it"
            await two.undrain(both.agent.uid)
            await eventually(lambda: made(one, uid), what="the job")
            assert await status(one, "DELETE", f"/jobs/{uid}") == 200
            await eventually(lambda: gone(two, uid), what="the job's end")
            await two.drain(both.agent.uid)
            await eventually(lambda: drains(one), what="what the other one was told")
        job = await client.create(ANY, queue_seconds=60)
        (place,) = [router for router in both.routers if await has(router, job.path)]
        place.kill()
        again = await client.create(ANY, uid=job.info["uid"], queue_seconds=60)
        assert again.path == job.path
        assert await status(client, "GET", again.path) == 200


async def test_what_a_job_answers_takes_no_place_of_one_that_waits(fleet: Fleet, tmp_path: Path) -> None:
    async with pair(fleet, tmp_path) as both, Client(both.url) as client:
        job = await serving_job(client, both.agent, ACCEPTS)
        for verb, path in (("POST", "create"), ("GET", "17"), ("POST", "jobs/create")):
            assert await status(client, verb, job.url(path).removeprefix(client.url)) == 202
        assert await places(client) == 0
        await drained(both)
        await client.create(ANY, queue_seconds=60)
        assert await places(client) == 1


async def places(client: Client) -> int:
    """How many jobs HAProxy keeps at their router."""
    async with client.session.get(f"{client.url}/jobs") as answer:
        return int(answer.headers["X-Kept"])


async def drained(both: Pair) -> None:
    async with both.routers[0].client() as one, both.routers[1].client() as two:
        await one.drain(both.agent.uid)
        await eventually(lambda: drains(two), what="what the other one was told")


async def drains(client: Client) -> bool:
    return bool((await client.agents())[0]["draining"])


async def made(client: Client, uid: str) -> bool:
    return any(job.info["uid"] == uid and job.info["agent"] is not None for job in await client.jobs())


async def gone(client: Client, uid: str) -> bool:
    return await status(client, "GET", f"/jobs/{uid}") == 404


async def has(router: Any, path: str) -> bool:
    async with router.client() as client:
        return await status(client, "GET", path) == 200

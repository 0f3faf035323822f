"""R12: behind a load balancer a router is restarted again and again, or dies, and nobody is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from balanced import Load, Pair, pair
from figures import LONG, Figures

from prouter.client import Client, Job
from prouter.model.ids import new_uid
from prouter.testing import Fleet, RouterDaemon, eventually
from prouter.testing.fleet import serving_job

PROGRAM = (Path(__file__).parent / "leaving_job.py").read_text()
RESTARTS, EVERY_SECONDS = (30, 20.0) if LONG else (3, 0.0)
ROOM = 3.0
AGREE_SECONDS = 1.0
CARRIED = 10
"""Requests that each router has under way when one dies."""
ENOUGH_SECONDS = 1.0
"""After a router was killed: its connections are cut by then, and HAProxy has seen it."""
WRITES = ["/bin/sh", "-c", "i=0; while ! test -e over; do i=$((i+1)); echo line $i; sleep 0.02; done"]


async def test_routers_are_restarted_in_turn_and_no_request_fails(
    fleet: Fleet, tmp_path: Path, figures: Figures
) -> None:
    async with pair(fleet, tmp_path) as both, Client(both.url) as client:
        job = await serving_job(client, both.agent, PROGRAM)
        before = (await job.refresh()).info["pid"]
        load = Load(both.url)
        async with load.of(*requests(both, job)):
            for number in range(RESTARTS):
                began = time.monotonic()
                router = both.routers[number % 2]
                assert await asyncio.to_thread(router.stop) == 0
                await asyncio.to_thread(router.start)
                await both.all_is_well()
                await asyncio.sleep(max(0.0, began + EVERY_SECONDS - time.monotonic()))
        figures.record("R12", "requests that failed while routers were restarted", len(load.failed), goal=0)
        assert not load.failed, load.failed[:5]
        assert len(load.asked) > RESTARTS * 10
        assert (await job.refresh()).info["pid"] == before


def requests(both: Pair, job: Job) -> Any:
    """Of each kind, all through HAProxy."""

    async def get(client: Client) -> None:
        await whole(client, "GET", "quick")

    async def post(client: Client) -> None:
        assert await whole(client, "POST", "quick", b"x" * 20_000)

    async def slow(client: Client) -> None:
        assert (await whole(client, "GET", "slow?seconds=1")).endswith(b"over")

    async def jobs(client: Client) -> None:
        made = await client.create({"type": "uid", "uid": both.agent.uid}, uid=new_uid())
        await made.remove()

    async def look(client: Client) -> None:
        assert (await client.agents())[0]["connected"]
        assert any(found.path == job.path for found in await client.jobs())

    async def whole(client: Client, verb: str, rest: str, body: bytes | None = None) -> bytes:
        url = f"{both.url}{job.path}/http/{rest}"
        async with client.session.request(verb, url, data=body) as answer:
            content = await answer.read()
            assert answer.status == 200, (answer.status, content[:300])
            return content

    return get, post, slow, jobs, look


async def test_one_dies_and_only_what_it_carried_is_cut(fleet: Fleet, tmp_path: Path, figures: Figures) -> None:
    async with pair(fleet, tmp_path) as both, Client(both.url) as client, both.routers[1].client() as other:
        job = await serving_job(client, both.agent, PROGRAM)
        writer = await client.create({"type": "uid", "uid": both.agent.uid})
        await writer.start(WRITES, port_expected_count=0)
        before = (await job.refresh()).info["pid"]
        load, direct = Load(both.url), Load(other.url)
        get, post, slow, _, _ = requests(both, job)
        followed = asyncio.create_task(follow(client, writer))
        waited = asyncio.create_task(wait(client, writer))
        async with load.of(get, post, slow), direct.of(own(job, other)):
            await eventually(lambda: len(direct.asked) > 20 and len(load.asked) > 20, seconds=60)
            carried = [[asyncio.create_task(held(router, job)) for _ in range(CARRIED)] for router in both.routers]
            await eventually(lambda: begun(other, job), what="all that is held at the job")
            both.routers[0].kill()
            died = time.monotonic()
            await eventually(lambda: sum(began > died + ENOUGH_SECONDS for began in load.asked) > 20, seconds=60)
            both.agent.sandbox(writer).joinpath("over").touch()
            both.agent.sandbox(job).joinpath("go").touch()
            ended = await waited
            cut, whole = [await asyncio.gather(*each, return_exceptions=True) for each in carried]
        assert all(isinstance(answer, aiohttp.ClientError) for answer in cut), "what it carried is cut"
        assert whole == [200] * CARRIED, "what the other one carried is not"
        late = [why for began, why in load.failed if began > died + ENOUGH_SECONDS]
        figures.record("R12", "requests that were cut when a router died", len(load.failed) + len(cut))
        figures.record("R12", "requests that failed behind its death", len(late), goal=0)
        figures.record("R12", "requests through the other router that failed", len(direct.failed), goal=0)
        assert not late, late[:5]
        assert not direct.failed, direct.failed[:5]
        assert (ended["state"], ended["exit_code"]) == ("FINISHED", 0)
        lines = (await followed).decode().splitlines()
        assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]
        assert (await job.refresh()).info["pid"] == before, "no job noticed"


async def held(router: RouterDaemon, job: Job) -> int:
    """Asked of this router itself; answered once the job may."""
    async with aiohttp.ClientSession() as session, session.get(f"{router.url()}{job.path}/http/held") as answer:
        return answer.status


async def begun(client: Client, job: Job) -> bool:
    async with client.session.get(f"{client.url}{job.path}/http/begun") as answer:
        return int(await answer.text()) == 2 * CARRIED


def own(job: Job, client: Client) -> Any:
    async def through_the_other(_: Client) -> None:
        async with client.session.get(f"{client.url}{job.path}/http/quick") as answer:
            assert answer.status == 200

    return through_the_other


async def follow(client: Client, job: Job) -> bytes:
    """As docs/operations.md says: what was cut is asked for again behind what came."""
    come = b""
    while True:
        url = f"{client.url}{job.path}/output?stream=stdout&follow=1&offset={len(come)}"
        try:
            async with client.session.get(url) as answer:
                answer.raise_for_status()
                async for chunk in answer.content.iter_any():
                    come += chunk
            return come
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)


async def wait(client: Client, job: Job) -> Mapping[str, Any]:
    while True:
        try:
            async with client.session.post(f"{client.url}{job.path}/wait") as answer:
                answer.raise_for_status()
                info: Mapping[str, Any] = await answer.json()
                return info
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)


async def test_both_at_once_make_one_job_and_know_the_same(fleet: Fleet, tmp_path: Path, figures: Figures) -> None:
    async with pair(fleet, tmp_path) as both, both.routers[0].client() as one, both.routers[1].client() as two:
        on = {"type": "uid", "uid": both.agent.uid}
        uids = [new_uid() for _ in range(10)]
        asked = [create(each, {"agent": on, "name": "same", "uid": uid}) for uid in uids for each in (one, two)]
        made = await asyncio.gather(*asked)
        assert [status for status, _ in made] == [200] * len(made)
        assert [info["uid"] for _, info in made] == [uid for uid in uids for _ in range(2)]
        contested = [new_uid() for _ in range(10)]
        differ = [create(each, {"agent": on, "name": each.url, "uid": uid}) for uid in contested for each in (one, two)]
        statuses = [status for status, _ in await asyncio.gather(*differ)]
        assert [sorted(statuses[at : at + 2]) for at in range(0, len(statuses), 2)] == [[200, 409]] * len(contested)
        keyed = [create(each, {"agent": on, "name": "keyed"}, f"key {n}") for n in range(10) for each in (one, two)]
        by_key = [info["uid"] for _, info in await asyncio.gather(*keyed)]
        assert by_key[::2] == by_key[1::2]
        took = [await agree(one, two), await agree(two, one)]
        assert len(await one.jobs()) == 30
        job = await one.create(on)
        start = {"args": ["sleep", "600"], "port_expected_count": 0}
        started = await asyncio.gather(
            *(ask(each, f"{job.path}/start", start, "once") for each in (one, two, one, two)), return_exceptions=True
        )
        assert {(status, info.get("pid")) for status, info in started} == {(200, (await job.refresh()).info["pid"])}
        took.append(await agree(one, two))
        await Job(two, job.info).remove()
        took.append(await agree(two, one))
        await one.drain(both.agent.uid)
        took.append(await agree(one, two))
        figures.record("R12", "two routers tell the same of agents and jobs", max(took), goal=AGREE_SECONDS, unit="s")
        assert max(took) < AGREE_SECONDS * ROOM


async def create(client: Client, body: Mapping[str, Any], key: str = "") -> tuple[int, Mapping[str, Any]]:
    return await ask(client, "/jobs/create", body, key)


async def ask(client: Client, path: str, body: Any, key: str = "") -> tuple[int, Mapping[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    async with client.session.post(client.url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def agree(knows: Client, hears: Client) -> float:
    """Seconds until the second one tells what the first one knows."""
    began = time.monotonic()

    async def same() -> bool:
        return await shown(hears) == await shown(knows)

    await eventually(same)
    return time.monotonic() - began


async def shown(client: Client) -> object:
    jobs = await client.request("GET", "/jobs")
    agents = [{**agent, "connected_at": None, "pipes": None, "mode": None} for agent in await client.agents()]
    return sorted(map(_stable, jobs["jobs"]), key=str), agents


def _stable(info: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: info[name] for name in ("uid", "state", "name", "path", "pid", "exit_code")}

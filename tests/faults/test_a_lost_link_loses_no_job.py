"""R1: a link that is cut again and again loses no job, and no call hangs or ends without a word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from callers import Calls, calling, may_be_retried
from figures import LONG, Figures
from told_events import Follower, mistold

from prouter.client import Client, Job
from prouter.model.ids import new_uid
from prouter.testing import AgentDaemon, BrokenNetwork, RouterDaemon, eventually

JOBS = 20
"""Of each agent."""
LINES, CUTS = 2, int(os.environ.get("PROUTER_CUTS", 10_000)) if LONG else 100
"""Agents that are cut off at once, each by a line of its own, and how often, all together: more at once are no quicker
on two processors, and what is promised of calls is then about a machine that can not keep up."""
LONGER_THAN_ALL = 7200.0
GONE_SECONDS = 20.0
COMES_BACK_SECONDS = 0.7
"""For so long one of those who follow events stays at a time."""
PAUSE = 0.25 if LONG else 0.05
CALLS_PAUSE = 0.2 if LONG else 0.0
"""Between the calls of each caller: in the long form what cuts cost is not to be hidden behind what calls cost."""
TALKS = f"i=0; while ! test -e go; do echo line $i; i=$((i+1)); sleep {PAUSE}; done; echo last $i; exit 7"
WAITS = "mkfifo go; read word < go; exit 7"
"""Takes no processor meanwhile: there are many of them."""


@pytest.mark.timeout(300)
async def test_cuts_lose_no_job_and_every_call_ends(fleet, figures: Figures) -> None:
    router = fleet.router("links.ping_interval=1")
    async with aiohttp.ClientSession() as session:
        stays, comes_back = Follower(session, router.url()), Follower(session, router.url())
        async with stays.following(), comes_back.following(COMES_BACK_SECONDS):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(cut_off_again_and_again(fleet, router, number)) for number in range(LINES)]
            seen = [task.result() for task in tasks]
            ended = [job for found in seen for job in found.ended]
            removed = [job for found in seen for job in found.removed]
            for follower in (stays, comes_back):
                await follower.has_heard(ended, removed)
    wrong = [words for follower in (stays, comes_back) for words in mistold(follower.events, ended, removed)]
    back = [seconds for found in seen for seconds in found.back]
    slowest = max(found.calls.slowest_of_others() for found in seen)
    broken = [words for found in seen for words in found.calls.broken]
    outcomes = sum((found.calls.outcomes for found in seen), Counter[tuple[str, int]]())
    cuts, least = sum(found.cuts for found in seen), 10_000 if LONG else 100
    figures.record("R1", "cuts", cuts, goal=f">= {least}", holds=cuts >= least)
    figures.record("R1", "cuts while the link came up", sum(found.cuts - len(found.back) for found in seen))
    figures.record("R1", "calls", outcomes.total())
    figures.record("R1", "calls that were cut, or told to be asked again", sum(failed(outcomes).values()))
    figures.record("R1", "calls that hung, or ended without a word", len(broken), goal=0)
    figures.record("R1", "slowest call that promises an end within 2 s", slowest, goal=2, unit="s")
    figures.record("R1", "until a call through the link is answered, after a cut", max(back), unit="s", spread=back)
    figures.record(
        "R1", "events told to who stayed", len(stays.events), goal=f">= {cuts}", holds=len(stays.events) >= cuts
    )
    figures.record("R1", "events lost, doubled or out of order", len(wrong), goal=0)
    figures.record("R1", "times that a follower of events came back", comes_back.came_back)
    lost = sum(found.lost for found in seen)
    figures.record("R1", f"jobs lost, of {JOBS} of each agent", lost, goal=0)
    assert (broken, wrong, lost) == ([], [], 0)
    assert comes_back.came_back


def failed(outcomes: Counter[tuple[str, int]]) -> Counter[tuple[str, int]]:
    return Counter({what: count for what, count in outcomes.items() if not 0 < what[1] < 400})


class Seen:
    """What happened at one agent."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.cuts = 0
        self.back: list[float] = []
        """Seconds from each cut, but for those after which the next one was not waited for, until a call was answered
        that needs the link."""
        self.lost = 0
        self.ended: list[str] = []
        self.removed: list[str] = []
        """Jobs whose end, or removal, a client was told."""


async def cut_off_again_and_again(fleet, router: RouterDaemon, number: int) -> Seen:
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, f"client.address='{line.authority}'", "client.reconnect_delay=0.1")
        await router.agent_is_there(agent)
        jobs = await jobs_of(client, agent)
        seen = Seen(Calls(client.session, router.url(), never_refused=True))
        followers = Followers(client, jobs)
        async with followers.following():
            async with calling(*callers(seen, agent, jobs), pause_seconds=CALLS_PAUSE):
                await cut_often(line, seen, f"{router.url()}{jobs[1].path}/file/up", CUTS // LINES, seed=number)
            await router.agent_is_there(agent)
            seen.lost = sum([(await job.refresh()).info["state"] != "RUNNING" for job in jobs])
            assert not seen.lost, [job.info for job in jobs if job.info["state"] != "RUNNING"]
            for job in jobs:
                os.close(os.open(agent.sandbox(job) / "go", os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK))
            await followers.all_saw_everything()
            seen.ended += [job.info["uid"] for job in jobs]
        return seen


async def jobs_of(client: Client, agent: AgentDaemon) -> list[Job]:
    async def one(number: int) -> Job:
        job = await client.create({"type": "uid", "uid": agent.uid}, f"job {number}", uid=new_uid())
        if number == 0:
            await job.start([sys.executable, "-c", SERVES], port={"mode": "assign"})
        else:
            await job.start(["/bin/sh", "-c", TALKS if number < 4 else WAITS], port_expected_count=0)
        return job

    return list(await asyncio.gather(*map(one, range(JOBS))))


SERVES = """
import http.server, os, pathlib, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
os._exit(7)
"""


async def cut_often(line: BrokenNetwork, seen: Seen, url: str, count: int, seed: int) -> None:
    """Reset all there is, at times that no one expects; every fifth while the link comes up again."""
    chance = random.Random(seed)
    for number in range(count):
        cut_at = time.monotonic()
        line.cut()
        seen.cuts += 1
        if number % 5 != 4:
            await eventually(lambda: answered(seen.calls.session, url), seconds=GONE_SECONDS, what="an answer")
            seen.back.append(time.monotonic() - cut_at)
        await asyncio.sleep(chance.uniform(0, 0.2))


async def answered(session: aiohttp.ClientSession, url: str) -> bool:
    """By the agent, whether the file is there or not."""
    with contextlib.suppress(aiohttp.ClientError):
        async with asyncio.timeout(GONE_SECONDS), session.head(url) as answer:
            return answer.status in (200, 404)
    return False


def callers(seen: Seen, agent: AgentDaemon, jobs: list[Job]) -> list[Callable[[], Awaitable[None]]]:
    calls, server, talker = seen.calls, jobs[0], jobs[1]

    async def asks() -> None:
        status, answer = await calls("info", "GET", f"{talker.path}/info", seconds=2)
        assert status == 200 or may_be_retried(status, answer), answer
        await calls("list", "GET", "/jobs", seconds=2)
        await asyncio.sleep(0.02)

    async def visits() -> None:
        status, body = await calls("proxied", "GET", f"{server.path}/http/", seconds=6)
        assert status != 200 or body == b"ok"

    async def makes() -> None:
        await asyncio.sleep(random.uniform(0, 0.1))  # the link was up for the removal before: now it may be away
        uid = new_uid()
        body = {"agent": {"type": "uid", "uid": agent.uid}, "name": "short", "uid": uid}
        status, answer = await calls("create", "POST", "/jobs/create", json=body, seconds=2, retry=True)
        assert status == 200, answer
        path = json.loads(answer)["path"]
        start = {"args": ["/bin/sh", "-c", "echo x >> started"], "port_expected_count": 0}
        key = {"Idempotency-Key": uid}
        status, answer = await calls("start", "POST", f"{path}/start", json=start, headers=key, seconds=2, retry=True)
        assert status == 200, answer
        status, answer = await calls("wait", "POST", f"{path}/wait", seconds=10, retry=True)
        assert json.loads(answer)["exit_code"] == 0
        seen.ended.append(uid)
        status, answer = await calls("download", "GET", f"{path}/file/started", seconds=2, retry=True)
        assert (status, answer) == (200, b"x\n"), (status, answer)
        status, answer = await calls("remove", "POST", f"{path}/remove", headers=key, seconds=2, retry=True)
        assert status == 200, answer
        seen.removed.append(uid)

    async def uploads() -> None:
        data = random.Random(7).randbytes(200_000)
        status, answer = await calls("upload", "POST", f"{talker.path}/file/up", data=data, seconds=2, retry=True)
        assert status == 200, answer
        status, answer = await calls("download", "GET", f"{talker.path}/file/up", seconds=2, retry=True)
        assert answer == data

    async def signals() -> None:
        key = {"Idempotency-Key": new_uid()}
        await calls(
            "signal", "POST", f"{jobs[5].path}/signal", json={"signal": "CONT"}, headers=key, seconds=2, retry=True
        )

    return [asks, visits, makes, uploads, signals]


class Followers:
    """Clients that ask once, before the first cut, and read on until the jobs have ended."""

    def __init__(self, client: Client, jobs: list[Job]) -> None:
        self._client = client
        self._jobs = jobs
        self._begun = asyncio.Semaphore(0)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        talker, other = self._jobs[1:3]
        async with asyncio.TaskGroup() as group:
            self.waits = [group.create_task(job.wait()) for job in self._jobs]
            self.timed = group.create_task(self._jobs[3].wait(LONGER_THAN_ALL))
            self.bytes = group.create_task(self._read(talker, "application/octet-stream"))
            self.events = group.create_task(self._read(other, "text/event-stream"))
            for _ in range(2):
                await self._begun.acquire()
            yield

    async def all_saw_everything(self) -> None:
        for wait in (*self.waits, self.timed):
            job = await wait
            assert (job.info["state"], job.info["exit_code"]) == ("FINISHED", 7), job.info
        assert_unbroken((await self.bytes).decode())
        assert_unbroken(text_of((await self.events).decode()))

    async def _read(self, job: Job, media: str) -> bytes:
        url = f"{self._client.url}{job.path}/output?follow=1"
        async with self._client.session.get(url, headers={"Accept": media}) as answer:
            assert (answer.status, answer.content_type) == (200, media)
            begun = await answer.content.readany()
            self._begun.release()
            return begun + await answer.read()


def assert_unbroken(text: str) -> None:
    lines = text.splitlines()
    count = len(lines) - 1
    assert lines == [*(f"line {number}" for number in range(count)), f"last {count}"]


def text_of(events: str) -> str:
    """What the job wrote, of the events that a browser saw; the last one says how the job ended."""
    text, kinds = "", []
    for event in events.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
        if fields:
            kinds.append(fields["event"])
            text += json.loads(fields["data"]).get("text", "")
    assert kinds[-1] == "end"
    assert set(kinds[:-1]) == {"stdout"}
    return text

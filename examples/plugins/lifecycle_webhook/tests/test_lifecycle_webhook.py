"""Events of a live router, its agent and jobs there, as a receiver gets them that checks, fails and is away."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from prouter_lifecycle_webhook.delivery import Delivery, signature

from prouter import hookspecs, implements
from prouter.client import RequestFailed
from prouter.errors import ConfigError
from prouter.model.access import Principal, Refusal
from prouter.model.jobs import CreateRequest
from prouter.testing import FakeAgent, InProcess, RouterHere, assert_contract, eventually

SECRET = "shared-with-the-receiver"


class Receiver:
    """Checks signatures; `answers` are the next statuses, 200 afterwards."""

    __test__ = False

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        """Those that were taken."""
        self.tries: list[str] = []
        """Ids, as often as they came."""
        self.answers: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        application = web.Application()
        application.router.add_post("/hook", self._take)
        self.server = TestServer(application)

    async def _take(self, request: web.Request) -> web.Response:
        await self.open.wait()
        body, headers = await request.read(), request.headers
        said = signature(SECRET, headers["Webhook-Id"], headers["Webhook-Timestamp"], body)
        assert headers["Webhook-Signature"] == said
        assert abs(time.time() - int(headers["Webhook-Timestamp"])) < 60
        self.tries.append(headers["Webhook-Id"])
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            event = json.loads(body)
            assert event["id"] == headers["Webhook-Id"]
            self.events.append(event)
        return web.Response(status=status)

    def of(self, subject: str) -> list[str]:
        return [event["type"] for event in self.events if event["data"].get("uid") == subject]

    def types(self) -> set[str]:
        return {event["type"] for event in self.events}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.server.start_server()
    yield made
    made.open.set()
    await made.server.close()


def settings(receiver: Receiver, **more: Any) -> list[str]:
    known = {"url": str(receiver.server.make_url("/hook")), "secret": SECRET, "first_pause": 0.01} | more
    return [f"lifecycle_webhook.{key}={value!r}" for key, value in known.items()]


async def test_a_jobs_life_is_told_in_order(in_process: InProcess, receiver: Receiver) -> None:
    router = await in_process.router(*settings(receiver))
    agent = await in_process.agent(router)
    receiver.answers = [500, 503, 429, 408]
    async with router.client() as client:
        good, bad = [await client.create({"type": "uid", "uid": agent.uid}, name) for name in ("good", "bad")]
        await good.start([sys.executable, "-c", ""], port_expected_count=0)
        await bad.start([sys.executable, "-c", "raise SystemExit(3)"], port_expected_count=0)
        await good.wait(20)
        await bad.wait(20)
        await good.remove()
        with pytest.raises(RequestFailed):
            await client.create({"type": "uid", "uid": "nobody"}, "no job")
    await agent.stop()
    uids = [str(job.info["uid"]) for job in (good, bad)]
    await eventually(lambda: "agent.disconnected" in receiver.types() and "job.closed" in receiver.of(uids[0]))
    assert receiver.of(uids[0]) == ["job.new", "job.pending", "job.running", "job.finished", "job.closed"]
    assert receiver.of(uids[1])[:4] == ["job.new", "job.pending", "job.running", "job.failed"]
    told = {event["type"]: event["data"] for event in receiver.events}
    assert told["agent.connected"]["uid"] == told["agent.disconnected"]["uid"] == agent.uid
    assert "link" in told["agent.disconnected"]["why"]
    assert (told["job.failed"]["exit_code"], told["job.failed"]["agent"]["uid"]) == (3, agent.uid)
    assert (told["job.not_made"]["name"], told["job.not_made"]["principal"]) == ("no job", "anonymous")
    assert len({event["id"] for event in receiver.events}) == len(receiver.events)
    assert len(receiver.tries) == len(receiver.events) + 4  # the same id came again
    assert {event["missed"] for event in receiver.events} == {0}


async def test_what_is_refused_for_good_is_not_sent_again(in_process: InProcess, receiver: Receiver) -> None:
    router = await in_process.router(*settings(receiver, tries=2))
    receiver.answers = [410, 500, 500]
    for count in range(1, 4):
        async with FakeAgent(router, "one"):
            await eventually(lambda wanted=count: len(receiver.tries) >= wanted)
    await eventually(lambda: len(receiver.events) >= 3)
    tries = receiver.tries
    assert tries.count(tries[0]) == 1
    assert tries[1] == tries[2] != tries[3]
    assert [event["missed"] for event in receiver.events][:2] == [2, 0]


async def test_a_receiver_that_is_away_delays_nobody(in_process: InProcess, receiver: Receiver) -> None:
    router = await in_process.router(*settings(receiver, queue=8))
    receiver.open.clear()
    agent = await in_process.agent(router)
    async with router.client() as client:
        async with asyncio.timeout(20):
            jobs = [await client.create({"type": "uid", "uid": agent.uid}, str(number)) for number in range(20)]
        delivery = router.plugin("lifecycle_webhook")._delivery
        await eventually(lambda: delivery.counts["dropped"] >= 8)
        assert delivery.waiting <= 8
        receiver.open.set()
        await eventually(lambda: delivery.waiting == 0)
        await jobs[0].remove()
    await eventually(lambda: sum(e["missed"] for e in receiver.events) == delivery.counts["dropped"])
    async with ClientSession() as session, session.get(router.url() + "/metrics") as answer:
        text = await answer.text()
    await router.stop()
    assert f'outcome="dropped"}} {float(delivery.counts["dropped"])}' in text
    assert "prouter_lifecycle_webhook_waiting 0.0" in text


async def test_news_that_never_came_are_told(receiver: Receiver) -> None:
    values = {"queue": 8, "timeout": 5, "tries": 3, "first_pause": 0.01, "longest_pause": 1, "secret": SECRET}
    delivery = Delivery(values | {"url": str(receiver.server.make_url("/hook"))})
    delivery.miss(7)  # as prouter_news_missed does
    delivery.add("job.new", "one", {})
    task = asyncio.create_task(delivery.run(hash("one") % 4))
    await eventually(lambda: receiver.events)
    task.cancel()
    assert receiver.events[0]["missed"] == 7


class Broken:
    @implements(hookspecs.prouter_admit_job)
    def prouter_admit_job(self, request: CreateRequest, principal: Principal) -> Refusal | None:
        raise LookupError("a secret of the plugin")


async def test_an_exception_is_told_by_its_kind(in_process: InProcess, receiver: Receiver) -> None:
    in_process.expected_errors = ["prouter_admit_job", "Traceback"]
    router = await in_process.router(*settings(receiver), plugins=[Broken])
    async with router.client() as client:
        with pytest.raises(RequestFailed):
            await client.create({"type": "uid", "uid": "nobody"}, "job")
    await eventually(lambda: "exception" in receiver.types())
    (told,) = [event["data"] for event in receiver.events if event["type"] == "exception"]
    assert told["error"] == "LookupError"
    assert "secret of the plugin" not in json.dumps(told)


async def test_what_waits_is_sent_before_the_end(in_process: InProcess, receiver: Receiver) -> None:
    router = await in_process.router(*settings(receiver))
    receiver.answers = [500, 500]
    async with FakeAgent(router, "one"):
        await eventually(lambda: receiver.tries)
    await router.stop()
    assert receiver.of("one")[:1] == ["agent.connected"]


async def test_it_shows_its_state(router: RouterHere, in_process: InProcess, receiver: Receiver) -> None:
    """And one that has no URL does nothing."""
    async with ClientSession() as session, session.get(router.url() + "/readyz") as answer:
        assert "webhook" not in await answer.text()
    async with FakeAgent(router):
        pass
    configured = await in_process.router(*settings(receiver))
    receiver.answers = [500] * 1000
    async with FakeAgent(configured), ClientSession() as session:

        async def told() -> bool:
            async with session.get(configured.url() + "/readyz") as answer:
                return answer.status == 200 and "HTTP 500" in await answer.text()

        await eventually(told)
        receiver.answers = []
    await configured.stop()


async def test_a_url_without_a_secret_is_a_wrong_configuration(in_process: InProcess) -> None:
    with pytest.raises(ConfigError, match="secret: it is needed"):
        await in_process.router("lifecycle_webhook.url='http://127.0.0.1:1/'")


async def test_it_keeps_the_contract_of_observers(in_process: InProcess, receiver: Receiver) -> None:
    """With a receiver that is not there: its connections would be tasks of this loop."""
    known = settings(receiver, tries=1)
    await receiver.server.close()
    router = await in_process.router(*known)
    await assert_contract(router.plugin("lifecycle_webhook"), "observer")

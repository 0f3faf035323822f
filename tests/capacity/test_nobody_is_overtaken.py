"""Who is next: first come, first served for what they need, the urgent before the others, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Mapping
from typing import Any, cast

import pytest
from queueing import ANY, SLEEP, ask, create, info, placed, position, waiting

from prouter.core.agents.directory import AgentDirectory
from prouter.core.queue.holds import View
from prouter.core.queue.line import Line, Place
from prouter.core.queue.looking import Looking
from prouter.errors import NoAgent, ProuterError
from prouter.model.access import ANONYMOUS
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRef, Sender
from prouter.model.resources import shortage
from prouter.rpc.calls import CallContext
from prouter.testing import FakeAgent, eventually

PRIORITIES = """
from prouter import hookimpl

class Urgent:
    @hookimpl
    def prouter_job_priority(self, request, principal):
        if request.name == "strange":
            return 10**7
        return int(request.labels["priority"]) if "priority" in request.labels else None
"""


async def test_a_large_job_is_not_starved_by_small_ones(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=10", "jobs.resources.gpu=2")
    async with router.client() as client:
        small = [await client.create(ANY, resources={"gpu": 1}) for _ in range(2)]
        large = await waiting(client, 1, resources={"gpu": 2})
        later = await waiting(client, 2, resources={"gpu": 1})
        await small[0].remove()
        detail = (await create(client, None, resources={"gpu": 1})).retryable("no-agent")
        assert "what is free there is for jobs that wait in the queue" in detail
        assert [await position(client, uid) for uid in (large, later)] == [1, 2], "one is free, which is not enough"
        assert (await create(client)).status == 200, "what the large one does not need is free"
        await small[1].remove()
        assert await placed(client, large) == agent.uid
        assert await position(client, later) == 1
        await ask(client, "DELETE", f"/jobs/{large}")
        assert await placed(client, later) == agent.uid


async def test_jobs_that_run_again_and_again_starve_nobody(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=10", "jobs.resources.gpu=2")
    async with router.client() as client:
        runs, over, none = [await client.create(ANY, resources=asked) for asked in ({"gpu": 1}, {"gpu": 1}, {})]
        await runs.start(SLEEP, port_expected_count=0)
        for job in (over, none):
            await job.start(["true"], port_expected_count=0)
            await job.wait()
        large = await waiting(client, 1, resources={"gpu": 2})
        refused = (await ask(client, "POST", f"{over.path}/restart")).retryable("no-agent")
        assert "what is free there is for jobs that wait in the queue" in refused
        assert (await ask(client, "POST", f"{runs.path}/restart")).status == 409, "it runs, that counts more"
        assert (await ask(client, "POST", f"{none.path}/restart")).status == 200, "of what nobody waits for"
        await runs.stop(grace_seconds=0)
        await runs.wait()
        again = await asyncio.gather(*(ask(client, "POST", f"{job.path}/restart") for job in (over, runs) * 2))
        assert {answer.status for answer in again} == {503}
        assert await placed(client, large) == agent.uid
        await ask(client, "DELETE", f"/jobs/{large}")
        assert (await ask(client, "POST", f"{over.path}/restart")).status == 200, "nobody waits any more"


async def test_a_restart_that_is_asked_again_is_told_how_it_went_though_others_wait_by_now(fleet) -> None:
    router, _agent = await fleet.pair("jobs.capacity=10", "jobs.resources.gpu=2")
    async with router.client() as client:
        runs, over = [await client.create(ANY, resources={"gpu": 1}) for _ in range(2)]
        await runs.start(SLEEP, port_expected_count=0)
        await over.start(["true"], port_expected_count=0)
        await over.wait()
        first = await ask(client, "POST", f"{over.path}/restart", **{"Idempotency-Key": "first"})
        assert first.status == 200
        await over.wait()
        await waiting(client, 1, resources={"gpu": 2})
        again = await ask(client, "POST", f"{over.path}/restart", **{"Idempotency-Key": "first"})
        assert again.status == 200, "it was done"
        assert again.json["started_at"] == first.json["started_at"]
        for _ in range(2):
            other = await ask(client, "POST", f"{over.path}/restart", **{"Idempotency-Key": "other"})
            assert "what is free there is for jobs that wait" in other.retryable("no-agent"), "it was not"


async def test_two_that_run_again_at_once_do_not_both_have_what_is_free_for_one(fleet) -> None:
    router, agent = await fleet.pair("jobs.capacity=10", "jobs.resources.gpu=3", "jobs.resources.slot=1")
    async with router.client() as client:
        holds = await client.create(ANY, resources={"slot": 1})
        await holds.start(SLEEP, port_expected_count=0)
        both = [await client.create(ANY, resources={"gpu": 1}) for _ in range(2)]
        for job in both:
            await job.start(["sh", "-c", "[ -e again ] && exec sleep 600; touch again"], port_expected_count=0)
            await job.wait()
        large = await waiting(client, 1, resources={"gpu": 2, "slot": 1})
        again = await asyncio.gather(*(ask(client, "POST", f"{job.path}/restart") for job in both))
        assert sorted(answer.status for answer in again) == [200, 503]
        await holds.stop(grace_seconds=0)
        assert await placed(client, large) == agent.uid


async def test_who_waits_for_one_agent_does_not_keep_others_from_another(fleet) -> None:
    router = fleet.router()
    async with (
        router.client() as client,
        FakeAgent(router, "busy", capacity={"jobs": 1}, running=1) as busy,
        FakeAgent(router, "idle", capacity={"jobs": 1}),
    ):
        for_busy = await waiting(client, 1, agent={"type": "uid", "uid": busy.uid})
        passed = await create(client)
        assert (passed.status, passed.json["agent"]["uid"]) == (200, "idle")
        anywhere = await waiting(client, 2)
        await ask(client, "DELETE", f"/jobs/{passed.json['uid']}")
        assert await placed(client, anywhere) == "idle"
        assert await position(client, for_busy) == 1


async def test_the_urgent_come_first_and_what_a_plugin_says_wrongly_counts_for_nothing(fleet, tmp_path) -> None:
    plugin = tmp_path / "urgent.py"
    plugin.write_text(PRIORITIES)
    router = fleet.router(f"plugins.load=['{plugin}:Urgent']")
    async with router.client() as client, FakeAgent(router, "full", capacity={"jobs": 1}, running=1) as agent:
        usual, strange = await waiting(client, 1), await waiting(client, 2, name="strange")
        low = await waiting(client, 3, labels={"priority": "-5"})
        high = await waiting(client, 1, labels={"priority": "7"})
        higher = await waiting(client, 1, labels={"priority": "8"})
        same = await waiting(client, 3, labels={"priority": "7"})
        order = [job["uid"] for job in sorted(await _waiting(client), key=lambda job: job["queue"]["position"])]
        assert order == [higher, high, same, usual, strange, low]
        assert (await info(client, high))["queue"]["priority"] == 7
        (held,) = agent.jobs
        await agent.ends(held)
        assert await placed(client, higher) == "full"
        assert "the priority 10000000 by plugin Urgent counts for nothing" in router.log


async def _waiting(client: Any) -> list[dict[str, Any]]:
    return [job for job in (await ask(client, "GET", "/jobs?state=NEW")).json["jobs"] if job["agent"] is None]


async def test_an_agent_that_knows_better_is_asked_again_when_it_has_news(fleet) -> None:
    class Reluctant(FakeAgent):
        asked, wants = 0, False

        async def prouter_create(self, context: CallContext, *arguments: Any) -> Any:
            type(self).asked += 1
            if not self.wants:
                raise NoAgent("the agent can not take the job: it would rather not")
            return await super().prouter_create(context, *arguments)

    router = fleet.router()
    async with router.client() as client, Reluctant(router, "reluctant", running=1) as agent:
        uid = await waiting(client)
        assert "would rather not" in (await info(client, uid))["queue"]["detail"]
        other = await waiting(client)
        await eventually(lambda: Reluctant.asked == 4)
        for _ in range(20):
            assert await position(client, other) == 2
        assert Reluctant.asked == 4, "each when it came and once when it had a place: nothing was heard since"
        Reluctant.wants = True
        (held,) = agent.jobs
        await agent.ends(held)
        assert [await placed(client, waits) for waits in (uid, other)] == ["reluctant"] * 2


# --- the rule, without a fleet ---


class Machine:
    """An agent of the rule's: what it has, and what runs there."""

    link = object()

    def __init__(self, uid: str, capacity: Mapping[str, int]) -> None:
        self.uid = AgentUid(uid)
        self.capacity = capacity
        self.running: list[Mapping[str, int]] = []

    def info(self) -> AgentInfo:
        used = {"jobs": len(self.running)}
        for resources in self.running:
            for name, count in resources.items():
                used[name] = used.get(name, 0) + count
        assert all(used.get(name, 0) <= count for name, count in self.capacity.items()), "more than there is"
        info = AgentInfo(self.uid, "", {}, {}, "1", True, None, "SERVER", len(self.running), capacity=self.capacity)
        return dataclasses.replace(info, used=used)


class Rule:
    """Machines, a line, and a chooser that takes the first that fits."""

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = machines
        self.line = Line()
        self.numbers = 0
        self.making: list[Place] = []
        self.looking = Looking(
            self.line,
            cast("AgentDirectory", machines),
            cast("Any", self),
            cast("Any", self),
            trail_bytes=0,
        )

    async def choose(self, request: CreateRequest, principal: Any, view: View, not_taken: Any) -> AgentUid:
        for machine in self.machines:
            seen = view(machine.info())
            if shortage(request.resources, seen.capacity, seen.used) is None:
                return machine.uid
        raise NoAgent("none")

    treats_alike = True

    def is_made(self, place: Any) -> bool:
        return False

    def begin_to_make(self, place: Any, agent: AgentUid, trail: Any) -> None:
        place.agent = agent
        self.making.append(place)

    def refused(self, place: Any, error: ProuterError) -> None:
        """It waits."""

    async def comes(self, resources: Mapping[str, int]) -> Place:
        self.numbers += 1
        loop = asyncio.get_running_loop()
        place = Place(
            uid=JobUid(str(self.numbers)),
            request=CreateRequest({}, resources=resources),
            asked="",
            principal=ANONYMOUS,
            sender=Sender("", "", ""),
            priority=0,
            number=self.numbers,
            since=0,
            until=0,
            began=0,
            done=loop.create_future(),
        )
        self.line.add(place)
        await self.settle()
        return place

    async def settle(self) -> None:
        """As the queue does: it is looked again as long as somebody leaves the line."""
        await self.looking.all()
        while self.making:
            for place in self.making:
                machine = next(machine for machine in self.machines if machine.uid == place.agent)
                machine.running.append(place.request.resources)
                place.done.set_result(JobRef(machine.uid, place.uid))
                self.line.remove(place)
                self.looking.fleet += 1
            self.making.clear()
            await self.looking.all()

    @property
    def running(self) -> set[int]:
        return {id(resources) for machine in self.machines for resources in machine.running}

    def head(self) -> Place | None:
        return next(iter(self.line), None)

    def has_room(self, place: Place) -> bool:
        resources = place.request.resources
        infos = [machine.info() for machine in self.machines]
        return any(shortage(resources, info.capacity, info.used) is None for info in infos)


@pytest.mark.parametrize("seed", range(8))
async def test_whoever_is_the_next_has_an_agent_when_all_that_ran_then_have_ended(seed: int) -> None:
    """However many smaller ones come all the time; and equal ones get theirs in the order in which they came."""
    chance = random.Random(seed)
    sizes = [{"jobs": chance.randint(1, 4), "gpu": chance.randint(0, 4)} for _ in range(chance.randint(1, 3))]
    rule = Rule([Machine(str(number), size) for number, size in enumerate(sizes)])
    came: list[Place] = []
    head, at_its_time = rule.head(), rule.running
    for _ in range(70):
        if chance.random() < 0.55:
            host = chance.choice(rule.machines)
            gpus = chance.randint(0, host.capacity["gpu"])
            came.append(await rule.comes({"gpu": gpus} if gpus else {}))
        elif rule.running:
            machine = chance.choice([machine for machine in rule.machines if machine.running])
            machine.running.pop(chance.randrange(len(machine.running)))
            await rule.settle()
        if rule.head() is not head:
            head, at_its_time = rule.head(), rule.running
        if head is not None:
            assert not rule.has_room(head), "somebody could have it"
            assert at_its_time & rule.running, "all that were before it are gone, and it waits still"
    waiting = {id(place) for place in rule.line}
    for number, place in enumerate(came):
        later = [other for other in came[number + 1 :] if other.request.resources == place.request.resources]
        if id(place) in waiting:
            assert all(id(other) in waiting for other in later)


async def test_without_homes_the_small_ones_would_starve_the_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the rule above is needed, and that what is asserted would find it missing."""

    async def starved() -> bool:
        rule = Rule([Machine("only", {"jobs": 10, "gpu": 2})])
        for _ in range(2):
            await rule.comes({"gpu": 1})
        large = await rule.comes({"gpu": 2})
        for _ in range(20):
            await rule.comes({"gpu": 1})
            rule.machines[0].running.pop(0) if rule.machines[0].running else None
            await rule.settle()
        return not large.done.done()

    assert not await starved()

    async def homeless(self: Looking, *arguments: Any) -> None:
        return None

    monkeypatch.setattr(Looking, "_home", homeless)
    assert await starved()

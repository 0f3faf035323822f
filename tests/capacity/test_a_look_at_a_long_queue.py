"""What a look at the queue costs others, and what becomes of a place whose job could not be made; without a fleet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prouter.core.queue import again, looking
from prouter.core.queue.holds import Holds
from prouter.core.queue.queue import JobQueue
from prouter.core.queue.settings import QueueSettings
from prouter.errors import NoAgent
from prouter.model.access import ANONYMOUS
from prouter.model.agents import AgentInfo, Identity
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest, JobRef
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually

HERE, OTHER = AgentUid("here"), AgentUid("other")


class Agents:
    """So many, of one slot each, which stand in for a directory; those that are full have a job."""

    def __init__(self, count: int, *, full: bool) -> None:
        used = {"jobs": int(full)}
        self.infos = [
            AgentInfo(AgentUid(f"a{number}"), "", {}, {}, "1", True, None, "SERVER", 0, capacity={"jobs": 1}, used=used)
            for number in range(count)
        ]

    def __iter__(self) -> Iterator[Any]:
        return iter([SimpleNamespace(link=self, info=lambda info=info: info) for info in self.infos])

    def owner(self, job: Any) -> None:
        """None has any that it was not asked to make."""


class Jobs:
    """Makes jobs, by what a test says."""

    treats_alike = False

    def __init__(self) -> None:
        self.chosen: list[CreateRequest] = []
        self.not_taken: list[set[str]] = []
        self.choosing: Callable[[CreateRequest], Awaitable[Any]] = self._here
        self.making: Callable[[], Any] = lambda: None

    async def _here(self, request: CreateRequest) -> AgentUid:
        return HERE

    async def choose(self, request: CreateRequest, principal: Any, view: Any, not_taken: Any) -> AgentUid:
        self.chosen.append(request)
        self.not_taken.append(set(not_taken))
        found: AgentUid = await self.choosing(request)
        return found

    def place_of(self, job: Any, chosen: AgentUid) -> AgentUid:
        return OTHER

    async def make(self, agent: AgentUid, request: CreateRequest, asked: str) -> Any:
        return self.making()

    async def remove(self, ref: JobRef) -> Any:
        raise AssertionError(ref)


class Hooks:
    """No plugin wants to know anything."""

    def implemented(self, hook: str) -> bool:
        return False


@pytest.fixture
async def tasks() -> Any:
    owner = TaskOwner("test")
    yield owner
    await owner.close()


def queue_of(agents: Agents, jobs: Jobs, tasks: TaskOwner) -> JobQueue:
    selection = SimpleNamespace(tell_not_made=lambda *told: None)
    parts = (cast("Any", part) for part in (Hooks(), agents, selection, None))
    queue = JobQueue(*parts, tasks, Identity("router", "router"), QueueSettings(1000, 60, 60))
    queue.places_by(jobs, trail_bytes=0)
    return queue


def join(queue: JobQueue, **locator: Any) -> Any:
    shown = queue.join(CreateRequest(locator), "", ANONYMOUS, 60, 0, NoAgent("full"))
    return queue.line.get(shown.uid)


async def test_what_nobody_expected_ends_no_place_and_keeps_none_for_ever(
    tasks: TaskOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "FIRST_SECONDS", 0.01)
    jobs = Jobs()
    queue = queue_of(Agents(1, full=False), jobs, tasks)
    jobs.making = lambda: {}["no such"]
    place, removed = join(queue), join(queue)
    await eventually(lambda: "nobody expected" in place.detail and "nobody expected" in removed.detail)
    queue.remove(removed)
    await asyncio.wait_for(asyncio.shield(removed.done), 20)
    jobs.making = lambda: None
    assert await asyncio.wait_for(asyncio.shield(place.done), 20) == JobRef(OTHER, place.uid)


async def test_the_agent_that_refused_is_the_one_that_was_asked(tasks: TaskOwner) -> None:
    def refuse() -> Any:
        raise NoAgent("no room")

    jobs = Jobs()
    queue = queue_of(Agents(1, full=False), jobs, tasks)
    jobs.making = refuse
    place = join(queue)
    await eventually(lambda: len(jobs.chosen) > 1)
    assert jobs.not_taken[1] == {OTHER} == set(place.turned_down)
    queue.end()


async def test_agents_without_room_are_gone_through_once_in_a_look_for_all_that_ask_for_the_same(
    tasks: TaskOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    has_room = Holds.has_room

    def counted(self: Holds, *arguments: Any) -> bool:
        nonlocal asked
        asked += 1
        return has_room(self, *arguments)

    monkeypatch.setattr(Holds, "has_room", counted)
    queue = queue_of(Agents(20, full=True), Jobs(), tasks)
    for _ in range(100):
        join(queue)
    await eventually(lambda: asked > 0 and not queue.busy)
    assert asked == 20
    queue.end()


async def test_jobs_with_the_same_wishes_are_refused_together(tasks: TaskOwner) -> None:
    async def nobody(request: CreateRequest) -> AgentUid:
        raise NoAgent("not for those of " + request.locator["of"])

    jobs = Jobs()
    jobs.treats_alike, jobs.choosing = True, nobody
    queue = queue_of(Agents(1, full=False), jobs, tasks)
    places = [join(queue, of=of) for of in "aabab"]
    await eventually(lambda: jobs.chosen and not queue.busy)
    assert [request.locator["of"] for request in jobs.chosen] == ["a", "a", "b", "b"], "for now, and for a home"
    assert [place.detail for place in places] == [f"not for those of {of}" for of in "aabab"]
    queue.end()


async def test_others_have_their_turns_of_the_loop_while_it_is_looked(tasks: TaskOwner) -> None:
    async def nobody(request: CreateRequest) -> AgentUid:
        time.sleep(1.5 * looking.TURN_SECONDS)
        raise NoAgent("nobody")

    jobs = Jobs()
    jobs.choosing = nobody
    queue = queue_of(Agents(1, full=False), jobs, tasks)
    for _ in range(10):
        join(queue)
    turns = 0
    while not turns or queue.busy:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 10
    queue.end()


async def test_a_selector_that_takes_too_long_is_waited_for_once_in_a_look(
    tasks: TaskOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.05)

    async def by_kind(request: CreateRequest) -> AgentUid:
        if request.locator["type"] == "slow":
            await asyncio.Event().wait()
        return HERE

    jobs = Jobs()
    jobs.choosing = by_kind
    queue = queue_of(Agents(1, full=False), jobs, tasks)
    slow = [join(queue, type="slow") for _ in range(5)]
    quick = join(queue, type="quick")
    await asyncio.wait_for(asyncio.shield(quick.done), 20)
    assert [request.locator["type"] for request in jobs.chosen[:2]] == ["slow", "quick"]
    assert "no agent was chosen within" in slow[0].detail
    queue.end()

"""Jobs that nobody told of are asked for once, by who can answer, and seldom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from prouter.core.agents.directory import AgentDirectory
from prouter.core.jobs import unheard
from prouter.core.jobs.unheard import Unheard
from prouter.errors import AgentAway, JobNotFound, LinkClosed, MethodNotFound, TimedOut
from prouter.model.agents import Hello
from prouter.model.ids import JobUid, new_uid, uid_digest
from prouter.model.jobs import JobRecord, Sender
from prouter.pluginkit.tasks import TaskOwner

JOB = JobRecord(JobUid(new_uid()), "", Sender("CLIENT", "r", ""), created_at=1.0, revision=1)

Answer = Callable[[str], Awaitable[Any]]


class Linked:
    """A link to an agent, and what it was asked."""

    def __init__(self, uid: str, answer: Answer, version: str | None = "1") -> None:
        self.hello = Hello(uid, uid, version=version)
        self.mode, self.name, self.address, self.removed = "SERVER", uid, "", dict[Any, Any]()
        self.pool = SimpleNamespace(size=0)
        self.asked: list[tuple[str, str]] = []
        self._answer = answer

    async def call(self, method: str, digest: str, timeout_seconds: float) -> Any:
        assert timeout_seconds == unheard.ASK_SECONDS
        self.asked.append((method, digest))
        return await self._answer(digest)


async def has_it(digest: str) -> Any:
    return JOB.to_wire() if digest == uid_digest(JOB.uid) else None


async def has_none(digest: str) -> Any:
    return None


def fails(error: Exception) -> Answer:
    async def answer(digest: str) -> Any:
        raise error

    return answer


@asynccontextmanager
async def asking(*links: Linked) -> AsyncIterator[tuple[Unheard, AgentDirectory]]:
    directory, tasks = AgentDirectory(lambda event: None, orphan_seconds=60, takeover_seconds=1), TaskOwner("asking")
    for link in links:
        await directory.register(link, ())  # type: ignore[arg-type]
    try:
        yield Unheard(directory, tasks), directory
    finally:
        await tasks.close()


@pytest.mark.parametrize("agent", ["a", None])
async def test_many_who_ask_the_same_are_one_question_that_gives_no_uid_away(agent: str | None) -> None:
    link, other = Linked("a", has_it), Linked("b", has_none)
    async with asking(link, other) as (jobs, directory):
        await asyncio.gather(*(jobs.ask(JOB.uid, agent) for _ in range(100)))
        assert directory.find_job(JOB.uid, agent).agent == "a"
        assert link.asked == [("prouter_job", uid_digest(JOB.uid))]
        assert len(other.asked) == (0 if agent else 1)
        assert JOB.uid not in str(link.asked)


async def test_what_is_not_there_is_asked_again_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Linked("a", has_none)
    async with asking(link) as (jobs, directory):
        for _ in range(10):
            await jobs.ask(JOB.uid, "a")
            with pytest.raises(JobNotFound):
                directory.find_job(JOB.uid, "a")
        assert len(link.asked) == 1
        await jobs.ask(JOB.uid, "a", JOB)
        assert len(link.asked) == 2, "newer news of it are another question"
        monkeypatch.setattr(unheard, "REMEMBERED_SECONDS", 0.0)
        await jobs.ask(JOB.uid, "a")
        assert len(link.asked) == 3


async def test_who_asks_for_everything_costs_agents_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unheard, "MOST_A_SECOND", 7)
    monkeypatch.setattr(unheard, "MAX_REMEMBERED", 3)
    link, other = Linked("a", has_none), Linked("b", has_none)
    async with asking(link, other) as (jobs, _):
        for _ in range(100):
            await jobs.ask(JobUid(new_uid()), "a")
        assert 7 <= len(link.asked) <= 14
        assert len(jobs._asked) <= 3
        await jobs.ask(JOB.uid, "b")
        assert len(other.asked) == 1, "one that is not asked for is not held up"
        for word in ("", "x", "A" * 32, "é" * 32, "a" * 33):
            await jobs.ask(JobUid(word), "b")
        assert len(other.asked) == 1


@pytest.mark.parametrize("error", [TimedOut("late"), LinkClosed("over")], ids=repr)
async def test_an_agent_that_says_nothing_is_away_where_it_is_named_and_in_nobodys_way(error: Exception) -> None:
    silent, other = Linked("a", fails(error)), Linked("b", has_it)
    async with asking(silent, other) as (jobs, directory):
        for _ in range(3):
            with pytest.raises(AgentAway):
                await jobs.ask(JOB.uid, "a")
        assert len(silent.asked) == 1
        await jobs.ask(JOB.uid, None)
        assert directory.find_job(JOB.uid, None).agent == "b"
        await jobs.ask(JobUid(new_uid()), None)


async def test_who_does_not_know_the_question_is_not_asked_again() -> None:
    older, original = Linked("a", fails(MethodNotFound("no such method"))), Linked("b", has_it, version=None)
    async with asking(older, original) as (jobs, _):
        for _ in range(3):
            for agent in ("a", "b", None):
                await jobs.ask(JobUid(new_uid()), agent)
        assert (len(older.asked), original.asked) == (1, [])


@pytest.mark.parametrize("wrong", [{}, 7, [], {"uid": None}, JOB.to_wire() | {"uid": "0" * 32}], ids=repr)
async def test_what_is_no_answer_teaches_nothing(wrong: Any) -> None:
    async def answer(digest: str) -> Any:
        return wrong

    async with asking(Linked("a", answer)) as (jobs, directory):
        with suppress(AgentAway):
            await jobs.ask(JOB.uid, "a")
        assert list(directory.entry("a").mirror) == []


async def test_an_answer_over_a_link_that_was_replaced_counts_no_more() -> None:
    async def is_replaced(digest: str) -> Any:
        directory.entry("a").link = None
        return JOB.to_wire()

    async with asking(Linked("a", is_replaced)) as (jobs, directory):
        await jobs.ask(JOB.uid, "a")
        assert list(directory.entry("a").mirror) == []


async def test_one_who_leaves_takes_the_question_from_nobody() -> None:
    may = asyncio.Event()

    async def in_time(digest: str) -> Any:
        await may.wait()
        return JOB.to_wire()

    link = Linked("a", in_time)
    async with asking(link) as (jobs, directory):
        first, second = (asyncio.ensure_future(jobs.ask(JOB.uid, "a")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        may.set()
        await second
        assert directory.find_job(JOB.uid, "a").job == JOB.uid
        assert len(link.asked) == 1

"""Followers of a router's /events, who stay or come back again and again, and what they may be told.

Belongs here: how events are read, what must hold of all that came while links were cut. Does not: what breaks, who asks
for jobs. Promised: nothing that a follower is told is missing or comes twice, a job goes on and never back, and its end
and its removal, which were acknowledged to whoever asked, are told once.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp

from prouter.testing import eventually

ORDER = ("NEW", "PENDING", "RUNNING", "FINISHED", "CLOSED")
MAY_DIFFER = {"agent", "activity"}
"""What an event shows that is not what it is about."""
ALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Event:
    """What is looked at of one: an hour has a hundred thousand of them."""

    number: int
    boot: str
    kind: str
    subject: str
    """The job, or the agent."""
    state: str
    """The job's, or whether the agent is linked."""
    removed: bool
    facts: int
    """The same of two events that say the same of a job."""


class Follower:
    """`events` are all that it was told."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/events"
        self._begun = asyncio.Event()
        self._told: set[tuple[str, str]] = set()
        self.events: list[Event] = []
        self.came_back = 0

    @asynccontextmanager
    async def following(self, stays_seconds: float | None = None) -> AsyncIterator[None]:
        """From here on; where it is to stay for so long only, it comes back and goes on behind the last event."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._follow(stays_seconds))
            await self._begun.wait()
            try:
                yield
            finally:
                task.cancel()

    async def has_heard(self, ended: Collection[str], removed: Collection[str]) -> None:
        """Raises AssertionError when it does not, in time."""
        left = {(job, "FINISHED") for job in ended} | {(job, "CLOSED") for job in removed}
        await eventually(lambda: left <= self._told, seconds=ALL_SECONDS, what="all events")

    async def _follow(self, stays_seconds: float | None) -> None:
        while True:
            try:
                async with asyncio.timeout(stays_seconds):
                    await self._read()
            except TimeoutError:
                self.came_back += 1

    async def _read(self) -> None:
        last = self.events[-1] if self.events else None
        headers = {"Last-Event-ID": f"{last.boot}-{last.number}"} if last is not None else {}
        for_ever = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._url, headers=headers, timeout=for_ever) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            while words := await answer.content.readuntil(b"\n\n"):
                self._begun.set()
                if not words.startswith(b":"):
                    self._take(event(words.decode()))
        raise AssertionError("the router ended an answer of /events")

    def _take(self, told: Event) -> None:
        self.events.append(told)
        self._told.add((told.subject, told.state))


def event(words: str) -> Event:
    """Of a `gap`, which has no id, the number is 0."""
    fields = dict(line.split(": ", 1) for line in words.strip().splitlines())
    boot, _, number = fields.get("id", "-0").rpartition("-")
    data = json.loads(fields["data"])
    about = data.get("job") or data.get("agent") or {}
    state = about.get("state") or ("linked" if data.get("connected") else "away")
    facts = json.dumps({name: value for name, value in about.items() if name not in MAY_DIFFER}, sort_keys=True)
    return Event(
        int(number), boot, fields["event"], about.get("uid", ""), state, data.get("removed", False), hash(facts)
    )


def mistold(events: Sequence[Event], ended: Collection[str], removed: Collection[str]) -> list[str]:
    """In words. `ended` are jobs whose end a client was told, `removed` those whose removal."""
    numbers = [each.number for each in events]
    wrong = []
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or len({each.boot for each in events}) != 1:
        wrong.append("events are missing, or came twice")
    told: dict[str, dict[str, list[Event]]] = {"job": defaultdict(list), "agent": defaultdict(list)}
    for each in events:
        if each.kind in told:
            told[each.kind][each.subject].append(each)
        else:
            wrong.append(f"an event that nothing here is the reason of: {each}")
    for agent, its in told["agent"].items():
        if repeats([each.state for each in its]):
            wrong.append(f"agent {agent} came, or went, twice")
    for job, its in told["job"].items():
        wrong += [f"job {job}: {words}" for words in misled(its)]
    for what, state, expected in (("end", "FINISHED", ended), ("removal", "CLOSED", removed)):
        for job in expected:
            count = [each.state for each in told["job"][job]].count(state)
            if count != 1:
                wrong.append(f"job {job}: its {what} was told {count} times")
    return wrong


def misled(told: Sequence[Event]) -> Iterable[str]:
    """Of one job, which runs once."""
    states = [each.state for each in told]
    if states != sorted(states, key=ORDER.index):
        yield f"it went back: {states}"
    if repeats([each.facts for each in told]):
        yield f"the same was told twice: {states}"
    if [each.removed for each in told] != [state == "CLOSED" for state in states]:
        yield "it is said to be removed, and is not, or the other way round"


def repeats(values: Sequence[Any]) -> bool:
    return any(one == other for one, other in pairwise(values))

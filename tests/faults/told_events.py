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
    number: int
    boot: str
    kind: str
    data: dict[str, Any]


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
        if told.kind == "job":
            self._told.add((told.data["job"]["uid"], told.data["job"]["state"]))


def event(words: str) -> Event:
    """Of a `gap`, which has no id, the number is 0."""
    fields = dict(line.split(": ", 1) for line in words.strip().splitlines())
    boot, _, number = fields.get("id", "-0").rpartition("-")
    return Event(int(number), boot, fields["event"], json.loads(fields["data"]))


def mistold(events: Sequence[Event], ended: Collection[str], removed: Collection[str]) -> list[str]:
    """In words. `ended` are jobs whose end a client was told, `removed` those whose removal."""
    numbers = [each.number for each in events]
    wrong = []
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or len({each.boot for each in events}) != 1:
        wrong.append("events are missing, or came twice")
    jobs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    agents: dict[str, list[bool]] = defaultdict(list)
    for each in events:
        if each.kind == "job":
            jobs[each.data["job"]["uid"]].append(each.data)
        elif each.kind == "agent":
            agents[each.data["agent"]["uid"]].append(each.data["connected"])
        else:
            wrong.append(f"an event that nothing here is the reason of: {each}")
    wrong += [f"{agent} came, or went, twice" for agent, told in agents.items() if repeats(told)]
    for job, told in jobs.items():
        wrong += [f"job {job}: {words}" for words in misled(told)]
    for what, state, expected in (("end", "FINISHED", ended), ("removal", "CLOSED", removed)):
        for job in expected:
            count = [each["job"]["state"] for each in jobs[job]].count(state)
            if count != 1:
                wrong.append(f"job {job}: its {what} was told {count} times")
    return wrong


def misled(told: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Of one job, which runs once."""
    places = [ORDER.index(each["job"]["state"]) for each in told]
    if places != sorted(places):
        yield f"it went back: {[each['job']['state'] for each in told]}"
    facts = [{name: each["job"][name] for name in each["job"].keys() - MAY_DIFFER} for each in told]
    if repeats(facts):
        yield f"the same was told twice: {facts}"
    if [each["removed"] for each in told] != [state == len(ORDER) - 1 for state in places]:
        yield "it is said to be removed, and is not, or the other way round"


def repeats(values: Sequence[Any]) -> bool:
    return any(one == other for one, other in pairwise(values))

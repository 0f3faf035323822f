"""Mistakes that a router, an agent or a job's record could have: each takes one promise out of the real code.

Belongs here: what is put into the place of what, in this process. Does not: what finds them (staged.py), and that it
does (test_the_model_finds_mistakes.py). Each is undone when its context is left.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import prouter.agent.jobs.recovering as recovering
import prouter.core.jobs.mirror as mirror
from prouter.agent.files.sandbox import Sandbox
from prouter.agent.guard.running import GuardedTree
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.kept import Kept
from prouter.agent.jobs.once import Once
from prouter.agent.jobs.orphans import Orphans
from prouter.agent.links import Links, RouterLink
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.fleet import Fleet
from prouter.core.agents.link import AgentLink
from prouter.core.jobs.mirror import JobMirror
from prouter.core.jobs.service import JobsService
from prouter.core.jobs.unsure import Unsure
from prouter.errors import Conflict
from prouter.model.jobs import JobRecord, JobState, Reason

Mistake = Callable[[], AbstractContextManager[Any]]


def instead(place: Any, name: str, make: Callable[[Any], Any]) -> Mistake:
    """`make` gets what was there, and makes what is there now."""
    return lambda: patch.object(place, name, make(getattr(place, name)))


# --- what the router believes ---


def every_boot_is_the_same(reconcile: Any) -> Any:
    return lambda self, records, same_boot, removed: reconcile(self, records, same_boot=True, removed=removed)


def no_boot_is_the_same(reconcile: Any) -> Any:
    return lambda self, records, same_boot, removed: reconcile(self, records, same_boot=False, removed=removed)


def removals_by_others_are_no_news(reconcile: Any) -> Any:
    return lambda self, records, same_boot, removed: reconcile(self, records, same_boot=same_boot)


def what_is_not_named_stays(reconcile: Any) -> Any:
    def keeps(self: JobMirror, records: Iterable[JobRecord], same_boot: bool, removed: Any) -> None:
        told = list(records)
        named = {record.uid for record in told}
        reconcile(self, [*told, *(record for record in self if record.uid not in named)], same_boot=same_boot)

    return keeps


def removals_are_forgotten(close: Any) -> Any:
    def forgets(self: JobMirror, *what: Any) -> None:
        close(self, *what)
        self._removed.clear()

    return forgets


def any_change_ends_a_wait(wait_ended: Any) -> Any:
    async def ends(self: JobMirror, job: Any, timeout_seconds: float | None) -> JobRecord:
        record = self.get(job)
        if record.ended:
            return await wait_ended(self, job, timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                record = await self._changed(job)
        except TimeoutError:
            return record
        return replace(record, state=JobState.FINISHED)

    return ends


def a_lost_link_ends_waits(unregister: Any) -> Any:
    def ends(self: AgentDirectory, link: AgentLink, why: str) -> None:
        unregister(self, link, why)
        entry = self._entries.get(link.hello.uid)
        for job in list(entry.mirror._waiting) if entry is not None else ():
            entry.mirror._wake(job, None)

    return ends


# --- links ---


def any_end_takes_the_link_away(unregister: Any) -> Any:
    def takes(self: AgentDirectory, link: AgentLink, why: str) -> None:
        entry = self._entries.get(link.hello.uid)
        if entry is not None:
            entry.link = link
        unregister(self, link, why)

    return takes


def the_last_to_come_is_the_newest(register: Any) -> Any:
    numbers = itertools.count(1_000_000)

    async def takes(self: AgentDirectory, link: AgentLink, jobs: Any) -> Any:
        link.hello = replace(link.hello, link=next(numbers))
        return await register(self, link, jobs)

    return takes


def any_link_has_news(follow: Any) -> Any:
    async def follows(self: Fleet, link: AgentLink, registered: Any) -> None:
        known = None
        async for news in link.watch():
            if isinstance(news, JobRecord):
                known.mirror.apply(news)
            elif known is None:
                known = await self.directory.register(link, news)

    return follows


def the_old_link_stays_beside_the_new(register: Any) -> Any:
    async def stays(self: Links, link: RouterLink) -> None:
        self._by_router.pop(link.router.uid, None)
        await register(self, link)

    return stays


def nobody_waits_for_a_router(init: Any) -> Any:
    return lambda self, jobs, orphan_seconds: init(self, jobs, 0.02)


# --- what is asked twice ---


def a_start_ends_with_its_caller(start: Any) -> Any:
    async def ends(self: Job, *what: Any) -> JobRecord:
        try:
            return await start(self, *what)
        except asyncio.CancelledError:
            self.around.tasks.start("the end", self.end(Reason.START_FAILED))
            raise

    return ends


async def made_nowhere(self: Any, job: Any) -> None:
    """No agent has it."""


@contextmanager
def a_create_chooses_anew() -> Iterator[None]:
    with (
        patch.object(AgentDirectory, "made_before", made_nowhere),
        patch.object(JobsService, "_made_before", lambda self, uid: None),
        patch.object(JobsService, "_unsure_of", lambda self, uid: None),
    ):
        yield


def keys_stand_for_nothing(do: Any) -> Any:
    return lambda self, key, asked, begin, current: do(self, None, asked, begin, current)


def nobody_is_expected(init: Any) -> Any:
    return lambda self, *what, **more: init(self, *what, **more | {"expected": frozenset()})


# --- what an agent keeps ---


def no_start_is_written(save: Any) -> Any:
    async def saves(self: Kept, record: JobRecord) -> None:
        if record.state is JobState.NEW or record.ended:
            await save(self, record)

    return saves


async def nobody_is_adopted(self: Job, *what: Any) -> None:
    raise Conflict("how it was started is not known")


def stops_are_forgotten(beside: Any) -> Any:
    return lambda self, record: beside(self, record) | {"stopping": None}


def half_an_upload_counts(writing: Any) -> Any:
    @asynccontextmanager
    async def writes(self: Sandbox, *what: Any, **more: Any) -> AsyncIterator[Any]:
        async with writing(self, *what, **more) as upload:
            try:
                yield upload
            except asyncio.CancelledError:
                if upload._file is not None:
                    await upload.commit()
                raise

    return writes


async def hears_words_only(self: GuardedTree, reader: asyncio.StreamReader) -> None:
    """A guardian's end is no word."""
    while line := await reader.readline():
        self._take(json.loads(line))


MISTAKES: dict[str, Mistake] = {
    "same_boot ignored at reconcile": instead(JobMirror, "reconcile", every_boot_is_the_same),
    "every link counts as another boot": instead(JobMirror, "reconcile", no_boot_is_the_same),
    "reconcile keeps jobs that the agent no longer names": instead(JobMirror, "reconcile", what_is_not_named_stays),
    "what another router removed counts as lost": instead(JobMirror, "reconcile", removals_by_others_are_no_news),
    "older news replace newer ones": instead(mirror, "_newer", lambda newer: lambda record, known: True),
    "removals are not remembered": instead(JobMirror, "_close", removals_are_forgotten),
    "a wait ends with any change of its job": instead(JobMirror, "wait_ended", any_change_ends_a_wait),
    "a wait ends with its agent's link": instead(AgentDirectory, "unregister", a_lost_link_ends_waits),
    "an old link's end takes the new one away": instead(AgentDirectory, "unregister", any_end_takes_the_link_away),
    "link numbers ignored": instead(AgentDirectory, "register", the_last_to_come_is_the_newest),
    "messages of an old link count": instead(Fleet, "_follow", any_link_has_news),
    "the agent keeps an old link beside a new one": instead(Links, "_register", the_old_link_stays_beside_the_new),
    "jobs end with their links": instead(Orphans, "__init__", nobody_waits_for_a_router),
    "a start ends with its caller": instead(Job, "start", a_start_ends_with_its_caller),
    "a repeated create chooses an agent anew": a_create_chooses_anew,
    "who was asked to make a job is forgotten": instead(Unsure, "agent", lambda agent: lambda self, job: None),
    "a router's next run expects nobody": instead(AgentDirectory, "__init__", nobody_is_expected),
    "Idempotency-Keys stand for nothing": instead(Once, "do", keys_stand_for_nothing),
    "Idempotency-Keys are not on disk": instead(Once, "to_wire", lambda to_wire: lambda self: {}),
    "a start is not on disk": instead(Kept, "save", no_start_is_written),
    "a stop is not on disk": instead(Kept, "_beside", stops_are_forgotten),
    "no guardian is adopted": instead(Job, "adopt", lambda adopt: nobody_is_adopted),
    "how a job ended without its agent is not read": instead(recovering, "LOST", lambda lost: tuple(Reason)),
    "a dead guardian is not noticed": instead(GuardedTree, "follow", lambda follow: hears_words_only),
    "half an upload counts": instead(Sandbox, "writing", half_an_upload_counts),
}
"""By what is wrong."""

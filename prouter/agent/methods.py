"""What routers can call over a link: the jobs of this agent, pipes, and what there is for originals.

Belongs here: arguments in, records out. Does not: what a job is (jobs/), what an original calls (originals/, plugins).
Arguments are a peer's: nothing is trusted.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from prouter.agent.draining import DrainSwitch
from prouter.agent.jobs.ending import signal_number
from prouter.agent.jobs.registry import JobRegistry, Watch
from prouter.agent.jobs.removed import Removals
from prouter.agent.jobs.surroundings import Surroundings
from prouter.agent.links import RouterLink
from prouter.agent.originals.jobs import OriginalJobs
from prouter.agent.originals.speaking import offer
from prouter.errors import InvalidRequest, NoAgent
from prouter.model.activity import Activity
from prouter.model.agents import ACTIVITY, DRAIN, LOOP, REMOVED, Drain, LoopDelay
from prouter.model.ids import JobUid, uid_digest
from prouter.model.jobs import JobRecord, StartRequest, check_labels
from prouter.model.methods import RpcMethod
from prouter.model.resources import parse as parse_resources
from prouter.model.traffic import BUCKETS, LoopCount
from prouter.rpc.calls import CallContext
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods

MAX_GRACE_SECONDS = 3600.0
PAGE = 100
"""Records in one message of a watch, or jobs whose activity is told: with all that they may have they fit into one."""
NO_ACTIVITY = Activity()


class JobMethods:
    """Offers the jobs of one registry."""

    def __init__(
        self,
        jobs: JobRegistry,
        around: Surroundings,
        draining: DrainSwitch,
        stop_grace_seconds: float,
        activity_seconds: float,
        offered: Sequence[RpcMethod],
        loop: LoopCount,
    ) -> None:
        self._jobs = jobs
        self._around = around
        self.draining = draining
        self.stop_grace_seconds = stop_grace_seconds
        """Unless a stop names another."""
        self._activity_seconds = activity_seconds
        """Between two tellings of what goes through the jobs' ports."""
        self.drivers = around.drivers
        self._originals = OriginalJobs(jobs, around)
        self._loop = loop
        self._offered = offered
        """By plugins."""

    def of(self, link: RouterLink) -> Methods:
        """What the router at the other end of `link` can call."""
        methods = Methods()
        methods.add("prouter_watch", lambda context: self._watch(context, link), CallType.ISTREAM)
        ours = _Prouter(self, link)
        for name in dir(ours):
            if not name.startswith("_"):
                methods.add(name, getattr(ours, name))
        for method in (*self._originals.methods(link), *self._offered):
            offer(methods, method)
        return methods

    @property
    def jobs(self) -> JobRegistry:
        return self._jobs

    async def create(
        self,
        uid: Any,
        name: Any,
        labels: Any,
        link: RouterLink,
        asked: Any = "",
        resources: Any = None,
        trail: Any = "",
    ) -> JobRecord:
        if not isinstance(name, str | None) or not isinstance(uid, str | None):
            raise InvalidRequest("Invalid request: a job's uid and name are texts")
        if not isinstance(labels, Mapping) or not all(isinstance(v, str) for pair in labels.items() for v in pair):
            raise InvalidRequest("Invalid request: labels are texts by name")
        check_labels(labels)
        try:
            taken = parse_resources(resources or {})
        except ValueError as error:
            raise InvalidRequest(f"Invalid request: {error}") from None
        sender, digest = link.sender(), str(asked or "")
        kept = trail if isinstance(trail, str) else ""
        return await self._jobs.create(uid, name or "", labels, taken, sender, self._around, digest, kept)

    async def _watch(self, context: CallContext, link: RouterLink) -> None:
        """Pages of all records, then every change and the jobs' activity, for as long as the router wants."""
        watch = self._jobs.watch()
        try:
            removals = _Removals(self._jobs.removals, REMOVED in link.router.capabilities)
            for news in removals.news():
                await context.send(news)
            records = watch.take_all()
            pages = [records[start : start + PAGE] for start in range(0, len(records), PAGE)] or [[]]
            for number, page in enumerate(pages, 1):
                await context.send({"jobs": [record.to_wire() for record in page], "more": number < len(pages)})
            await self._tell_changes(watch, context, link.router.capabilities, removals)
        finally:
            watch.close()

    async def _tell_changes(
        self, watch: Watch, context: CallContext, capabilities: Set[str], removals: _Removals
    ) -> None:
        loop, activity = asyncio.get_running_loop(), ACTIVITY in capabilities
        activities, due_at = _Activities(self._jobs), loop.time() if activity else math.inf
        lateness = _Lateness(self._loop, LOOP in capabilities)
        told: Drain | None = None
        while True:
            if DRAIN in capabilities and told != self.draining.drain:
                told = self.draining.drain
                await context.send({"drain": told.to_wire()})
            try:
                async with asyncio.timeout_at(due_at if activity else None):
                    records = await watch.changed()
            except TimeoutError:
                records = []
            for news in removals.news():
                await context.send(news)
            for record in records:
                await context.send({"job": record.to_wire()})
            if loop.time() >= due_at:
                for page in activities.changed():
                    await context.send({"activity": page})
                for delay in lateness.news():
                    await context.send({"loop": delay.to_wire()})
                due_at = loop.time() + self._activity_seconds


class _Activities:
    """What one router was told of the jobs' activity."""

    def __init__(self, jobs: JobRegistry) -> None:
        self._jobs = jobs
        self._told: dict[JobUid, Activity] = {}

    def changed(self) -> Iterator[Mapping[str, Any]]:
        """Pages of what it was not told; of a job without any traffic it need not be told."""
        before, self._told = self._told, {}
        news: dict[str, Any] = {}
        for job in self._jobs:
            activity = job.flows.now()
            if activity == NO_ACTIVITY:
                continue
            self._told[job.record.uid] = activity
            if activity != before.get(job.record.uid):
                news[job.record.uid] = activity.to_wire()
        for start in range(0, len(news), PAGE):
            yield dict(list(news.items())[start : start + PAGE])


class _Lateness:
    """How late the event loop is, as one router was told: anew when it is of another class, or something was slow."""

    def __init__(self, count: LoopCount, told: bool) -> None:
        self._count = count
        self._told = told
        self._last: tuple[int, int] | None = None

    def news(self) -> Iterator[LoopDelay]:
        """What it was not told; nothing for a router that would not understand."""
        now = LoopDelay(self._count.worst_seconds, self._count.slow)
        kind = (bisect_left(BUCKETS, now.worst_seconds), now.slow)
        if self._told and kind != self._last:
            self._last = kind
            yield now


class _Removals:
    """Which removals with a key one router was told of; it is told before the job goes."""

    def __init__(self, removals: Removals, told: bool) -> None:
        self._removals = removals
        self._told = told
        self._newest = 0

    def news(self) -> Iterator[Mapping[str, Any]]:
        """Pages of what it was not told; nothing for a router that would not understand."""
        news = self._removals.newer_than(self._newest) if self._told else []
        for start in range(0, len(news), PAGE):
            page = news[start : start + PAGE]
            self._newest = page[-1].number
            yield {"removed": [{"key": removal.key, "job": removal.before.to_wire()} for removal in page]}


class _Prouter:
    """Between two of ours."""

    def __init__(self, methods: JobMethods, link: RouterLink) -> None:
        self._methods = methods
        self._link = link

    async def prouter_create(
        self,
        context: CallContext,
        uid: Any,
        name: Any,
        labels: Any,
        asked: Any = "",
        resources: Any = None,
        trail: Any = "",
    ) -> Any:
        return (await self._methods.create(uid, name, labels, self._link, asked, resources, trail)).to_wire()

    async def prouter_job(self, context: CallContext, digest: Any) -> Any:
        """The job whose uid has this digest, as watches tell of it; None where there is none, or it is not made yet."""
        for job in self._methods.jobs:
            if uid_digest(job.record.uid) == digest:
                return job.shown.to_wire() if self._methods.jobs.is_made(job.record.uid) else None
        return None

    async def prouter_explain(self, context: CallContext, uid: Any = None) -> Any:
        """What a router left here about a job, and which driver runs it; without a uid the driver of new jobs only."""
        drivers = self._methods.drivers
        if uid is None:
            return {"trail": None, "driver": drivers.shown()}
        job = self._methods.jobs.find(str(uid))
        trail = await asyncio.to_thread(job.directory.read_trail)
        return {"trail": trail, "driver": drivers.shown(job.record.driver)}

    async def prouter_drain(self, context: CallContext, on: Any) -> Any:
        if not isinstance(on, bool):
            raise InvalidRequest("Invalid request: drain, true or false?")
        return (await self._methods.draining.turn(on)).to_wire()

    async def prouter_start(self, context: CallContext, uid: str, request: Any, key: Any = None) -> Any:
        try:
            asked = StartRequest.from_wire(request)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest("Invalid request: the start makes no sense") from error
        return (await self._methods.jobs.find(uid).start(asked, _key(key))).to_wire()

    async def prouter_restart(self, context: CallContext, uid: str, key: Any = None, begins: Any = True) -> Any:
        job = self._methods.jobs.find(uid)
        if not begins and not job.kept.once.knows(_key(key)):
            raise NoAgent("this restart was not asked for before")
        return (await job.restart(_key(key))).to_wire()

    async def prouter_stop(
        self, context: CallContext, uid: str, signal: Any, grace_seconds: Any = None, key: Any = None
    ) -> Any:
        grace = self._methods.stop_grace_seconds if grace_seconds is None else grace_seconds
        if not isinstance(grace, int | float) or not 0 <= grace <= MAX_GRACE_SECONDS:
            raise InvalidRequest(f"Invalid request: `grace` is a number of seconds up to {MAX_GRACE_SECONDS:g}")
        job = self._methods.jobs.find(uid)
        return (await job.stop(signal_number(str(signal)), grace, _key(key))).to_wire()

    async def prouter_signal(self, context: CallContext, uid: str, signal: Any, key: Any = None) -> Any:
        return (await self._methods.jobs.find(uid).signal(signal_number(str(signal)), _key(key))).to_wire()

    async def prouter_remove(self, context: CallContext, uid: str, key: Any = None) -> Any:
        return (await self._methods.jobs.remove(uid, _key(key))).to_wire()

    async def pipe_dial(self, context: CallContext, tickets: Any) -> int:
        """How many were opened, once all were tried; a router that knows that need not wait for what will not come."""
        if not isinstance(tickets, Sequence) or not all(_is_ticket(ticket) for ticket in tickets):
            raise InvalidRequest("Invalid request: these are no tickets")
        return await self._link.dial_pipes(tickets)

    async def pipe_tickets(self, context: CallContext, count: Any) -> list[str]:
        if not isinstance(count, int):
            raise InvalidRequest("Invalid request: how many tickets?")
        return self._link.issue_tickets(count)


def _key(value: Any) -> str | None:
    """An Idempotency-Key, as the router passed it on."""
    return value[:255] if isinstance(value, str) and value else None


def _is_ticket(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and all(c in "0123456789abcdef" for c in value)

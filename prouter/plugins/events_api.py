"""GET /events: what happens to agents and jobs, as Server-Sent Events that a client can resume.

An id is `BOOT-N`: N counts from the router's start, BOOT names that start. A client that asks for what came after an id
gets it from a bounded ring; where something is missing (another boot, or the ring has moved on) it is told by a `gap`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prouter import hookimpl
from prouter.errors import TooManyRequests
from prouter.model.agents import AgentInfo
from prouter.model.ids import new_uid
from prouter.model.jobs import CreateRequest, JobRecord, JobState
from prouter.model.plugin import Call, ConfigSection, Route
from prouter.model.queue import QueuedJob
from prouter.model.services import Router
from prouter.model.times import rfc3339

if TYPE_CHECKING:
    from aiohttp import web

QUIET_SECONDS = 15.0
"""After so long without news a comment is sent, so that proxies keep the connection and the dead are noticed."""
PAGE_BYTES = 64 * 1024
"""What a follower is sent at a time; one event of more goes alone."""
MAX_DIGITS = 18
"""Of an event's number; no router lives to count further."""
GAP = b"event: gap\ndata: {}\n\n"


class EventRing:
    """The newest events, numbered from 1: at most `kept`, and of those at most `kept_bytes` (the newest one always).

    Readers keep their own place and take a page at a time, so a slow one costs a page.
    """

    def __init__(self, boot: str, kept: int, kept_bytes: int) -> None:
        self.boot = boot
        self.closed = False
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._events: dict[int, bytes] = {}
        """By number, without holes."""
        self._bytes = 0
        self._newest = 0
        self._news = asyncio.Event()

    @property
    def newest(self) -> int:
        return self._newest

    def append(self, kind: str, data: Mapping[str, Any]) -> None:
        self._newest += 1
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        event = f"id: {self.boot}-{self._newest}\nevent: {kind}\ndata: {text}\n\n".encode("utf-8", "replace")
        self._events[self._newest] = event
        self._bytes += len(event)
        while len(self._events) > 1 and (len(self._events) > self._kept or self._bytes > self._kept_bytes):
            self._bytes -= len(self._events.pop(self._oldest))
        self._news.set()
        self._news = asyncio.Event()

    @property
    def _oldest(self) -> int:
        return self._newest - len(self._events) + 1

    def place(self, last_id: str | None) -> int:
        """Behind which event to go on: that of the id, the newest without one, -1 for an id that is not ours."""
        if last_id is None:
            return self._newest
        boot, _, digits = last_id.rpartition("-")
        if boot != self.boot or not (digits.isascii() and digits.isdecimal()) or len(digits) > MAX_DIGITS:
            return -1
        return int(digits) if int(digits) <= self._newest else -1

    def after(self, place: int) -> tuple[bytes, int]:
        """A page of what is behind that place, a gap first where something is missing; and the new place."""
        missed = place + 1 < self._oldest or place < 0
        page, number = [GAP] if missed else [], self._oldest - 1 if missed else place
        room = PAGE_BYTES
        while number < self._newest and room > 0:
            number += 1
            page.append(self._events[number])
            room -= len(page[-1])
        return b"".join(page), number

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._news.set()

    async def more(self, place: int) -> None:
        """Until there is something behind that place, or nothing more will come."""
        while self._newest == place and not self.closed:
            await self._news.wait()


class EventsApi:
    """Plugin `events_api`."""

    def __init__(self) -> None:
        self._router: Router | None = None
        self._ring: EventRing | None = None
        self._max_followers = 0
        self._followers = 0

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [
            ConfigSection(
                "events",
                {
                    "kept": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 1000000,
                        "default": 1000,
                        "description": "Events that are kept for clients which come back.",
                    },
                    "kept_bytes": {
                        "type": "integer",
                        "minimum": 1,
                        "default": 16 * 1024 * 1024,
                        "description": "Bytes of those events; beyond them the oldest go, however few there are.",
                    },
                    "max_followers": {
                        "type": "integer",
                        "minimum": 1,
                        "default": 100,
                        "description": "Clients that follow /events at the same time; beyond it the answer is 429.",
                    },
                },
            )
        ]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        section = router.config.section("events")
        self._router = router
        self._ring = EventRing(new_uid(), section["kept"], section["kept_bytes"])
        self._max_followers = section["max_followers"]
        router.tasks.start("end of the events", self._close(router, self._ring))

    async def _close(self, router: Router, ring: EventRing) -> None:
        await router.describe.ending()
        ring.close()

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        query = {"after": {"type": "string", "description": "As the header Last-Event-ID: go on behind this event."}}
        summary = "Follow what happens to agents and jobs (Server-Sent Events)."
        return [
            Route(
                ("GET",),
                "/events",
                "events.read",
                summary,
                self._follow,
                query=query,
                media_type="text/event-stream",
                follows=True,
            )
        ]

    @hookimpl
    def prouter_agent_connected(self, agent: AgentInfo) -> None:
        self._tell("agent", {"agent": _agent(agent), "connected": True})

    @hookimpl
    def prouter_agent_disconnected(self, agent: AgentInfo, why: str) -> None:
        self._tell("agent", {"agent": _agent(agent), "connected": False, "why": why})

    @hookimpl
    def prouter_agent_draining(self, agent: AgentInfo) -> None:
        self._tell("agent", {"agent": _agent(agent), "connected": agent.connected})

    @hookimpl
    def prouter_agent_provisioning(self, request: CreateRequest, plugin: str, detail: str) -> None:
        job = {"uid": request.uid, "name": request.name, "labels": dict(request.labels)}
        self._tell("agent-provisioning", {"job": job, "plugin": plugin, "detail": detail})

    @hookimpl
    def prouter_job_state_changed(self, agent: AgentInfo, record: JobRecord) -> None:
        assert self._router is not None
        removed = record.state is JobState.CLOSED
        self._tell("job", {"job": self._router.jobs.shown(record, agent), "removed": removed})

    @hookimpl
    def prouter_queue_changed(self, jobs: Sequence[QueuedJob], moved: bool) -> None:
        if moved:
            self._tell("queue", {"jobs": [{"uid": job.uid, "position": job.position} for job in jobs]})
            return
        for job in jobs:
            if job.agent is None:  # else it is told of as of every job
                self._tell("job", {"job": job.shown(), "removed": job.state is JobState.CLOSED})

    @hookimpl
    def prouter_failed(self, about: str, detail: str) -> None:
        self._tell("failure", {"about": about, "detail": detail})

    @hookimpl
    def prouter_news_missed(self) -> None:
        self._tell("gap", {})

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        assert self._ring is not None
        self._ring.append(kind, {"time": rfc3339(time.time()), **data})

    async def _follow(self, call: Call) -> web.StreamResponse:
        from aiohttp import web

        if self._followers >= self._max_followers:
            raise TooManyRequests(
                f"{self._followers} clients follow the events already, which is the limit (events.max_followers)",
                headers={"Retry-After": "10"},
            )
        assert call.request is not None
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        self._followers += 1
        try:
            await answer.prepare(call.request)
            await self._send(answer, call.head.get("last-event-id") or call.query.get("after"))
        finally:
            self._followers -= 1
        return answer

    async def _send(self, answer: web.StreamResponse, last_id: str | None) -> None:
        """Until the router ends. Writing waits for the client; what it misses meanwhile is a gap."""
        ring = self._ring
        assert ring is not None
        place = ring.place(last_id)
        await answer.write(b": events follow\n\n")
        while not ring.closed:
            if place != ring.newest:
                data, place = ring.after(place)
                await answer.write(data)
                continue
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await ring.more(place)
            except TimeoutError:
                await answer.write(b": quiet\n\n")


def _agent(agent: AgentInfo) -> dict[str, Any]:
    return {
        "uid": agent.uid,
        "name": agent.name,
        "platform": dict(agent.platform),
        "version": agent.version,
        "draining": agent.draining,
    }

"""Explanations: what was decided about a job, would be about a new one, and would be about a proxied request.

Belongs here: running the decisions without their effects and putting the parts together. Does not: recording
(model/trail.py), deciding (selection.py, dispatch.py, the plugins).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.would_dial import dry_run
from prouter.core.jobs.service import JobsService
from prouter.core.queue.queue import JobQueue
from prouter.errors import NotPossible, ProuterError
from prouter.model.access import Principal
from prouter.model.agents import EXPLAIN
from prouter.model.http import RequestHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRef, JobState
from prouter.model.plugin import Call
from prouter.model.queue import QueuedJob
from prouter.model.telling import clipped, refusal
from prouter.model.trail import Trail, current, recorded
from prouter.pluginkit.calling import Hooks
from prouter.web.outcomes import Incoming

WHO = ("prouter_authenticate_request", "prouter_principal")
"""Not asked again for a rehearsal: who asked for the explanation was authenticated just now."""
Rehearsal = Callable[[Incoming, Principal], Awaitable[None]]


class Explanations:
    """Implements model.router_services.Explanations."""

    def __init__(self, hooks: Hooks, directory: AgentDirectory, jobs: JobsService, queue: JobQueue) -> None:
        self._hooks = hooks
        self._directory = directory
        self._jobs = jobs
        self._queue = queue
        self._rehearse: Rehearsal | None = None

    def rehearses_by(self, rehearse: Rehearsal) -> None:
        """How a proxied request is decided about without being sent."""
        self._rehearse = rehearse

    async def creation(self, request: CreateRequest, principal: Principal) -> Mapping[str, Any]:
        trail = Trail.of(principal, dry=True)
        explained = await dry_run(trail, partial(self._jobs.would_create, request, principal))
        driver = await self._driver(AgentUid(trail.chosen)) if trail.chosen is not None else None
        return {**explained, "driver": driver}

    async def job(self, call: Call) -> Mapping[str, Any]:
        if call.queued is not None:
            return await self._queued(call.queued)
        ref = call.job_ref()
        told = await self._told(ref.agent, ref.job)
        return {
            "creation": _document(told.get("trail")),
            "driver": _driver(told.get("driver")),
            "proxying": await self._proxying(call, ref),
            "queue": None,
        }

    async def _queued(self, job: QueuedJob) -> Mapping[str, Any]:
        """It has no agent that kept why, so it is found out what keeps it waiting now."""
        place = self._queue.line.get(job.uid)
        creation = await self._queue.looking.explained(place) if place is not None else None
        agent = (place.agent or place.home) if place is not None else None
        return {
            "creation": creation,
            "driver": None,
            "proxying": None,
            "queue": {**job.shown()["queue"], "agent": agent},
        }

    async def _told(self, agent: AgentUid, job: JobUid | None) -> Mapping[str, Any]:
        """What the agent says. Raises NotPossible for an original; one of ours of an older version says nothing."""
        link = self._directory.connected(agent)
        if link.hello.original:
            raise NotPossible(f"agent {agent!r} is an original pAgent, which keeps no record of why a job was made")
        if EXPLAIN not in link.hello.capabilities:
            return {}
        told = await link.call("prouter_explain", job)
        return told if isinstance(told, Mapping) else {}

    async def _driver(self, agent: AgentUid) -> Mapping[str, str] | None:
        """None where the agent can not say it."""
        try:
            return _driver((await self._told(agent, None)).get("driver"))
        except ProuterError:
            return None

    async def _proxying(self, call: Call, ref: JobRef) -> Mapping[str, Any] | None:
        """Whom an empty GET of the job's default port would meet, by this caller; None for a job that serves none."""
        record = self._jobs.get(ref)
        if record.state is not JobState.RUNNING or record.default_port() is None or self._rehearse is None:
            return None
        host = call.head.get("host")
        head = RequestHead("GET", f"{ref.path}/http/", (("Host", host),) if host is not None else ())
        refused: ProuterError | None = None
        before = current.get()
        authenticated = [] if before is None else [d for d in before.decisions if d.hook in WHO]
        with recorded(Trail()) as trail:
            try:
                await self._rehearse(Incoming(head, call.peer, call.request_id), call.principal)
            except ProuterError as error:
                refused = error
            decisions = [decision.shown() for decision in (*authenticated, *trail.decisions)]
            trail.close()
        return {
            "principal": {"name": clipped(call.principal.name), "authenticator": clipped(call.principal.authenticator)},
            "decisions": decisions,
            "answer_chain": self._hooks.plugins("prouter_proxy_response"),
            "refused": refusal(refused) if refused is not None else None,
        }


def _document(kept: object) -> Mapping[str, Any] | None:
    """What the agent kept, as far as it is a document: an agent is not trusted to be well-formed."""
    try:
        found = json.loads(kept, parse_constant=lambda name: None) if isinstance(kept, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _driver(told: object) -> Mapping[str, str] | None:
    if not isinstance(told, Mapping):
        return None
    return {name: clipped(str(told.get(name, ""))) for name in ("name", "plugin")}

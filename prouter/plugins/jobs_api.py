"""The routes of jobs: create, list, start, wait, info, remove. What they mean is in the Jobs service."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.errors import InvalidRequest
from prouter.model.create_body import CREATE, TEXTS, create_request
from prouter.model.http import Reply
from prouter.model.ids import AgentUid
from prouter.model.jobs import JobRecord, JobState, PortRequest, StartRequest
from prouter.model.paging import QUERY, fits, page, pairs
from prouter.model.plugin import Call, Route, idempotency_key
from prouter.model.queue import QueuedJob
from prouter.model.schemas import JOB_INFO, JOBS
from prouter.model.services import Router

_PORT = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["report", "assign", "detect", "unix"], "default": "report"},
        "ready": {"type": ["string", "null"], "pattern": "^/", "description": "A path that answers below 500."},
        "ready_timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600, "default": 30},
        "prefix": {"enum": ["strip", "keep"], "default": "strip"},
        "path": {"type": "string", "minLength": 1, "description": "Mode unix: the socket, in the sandbox."},
    },
    "additionalProperties": False,
}
START = {
    "type": "object",
    "properties": {
        "args": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "env": TEXTS | {"description": "Comes on top of the agent's environment."},
        "name": {"type": ["string", "null"], "maxLength": 1024},
        "cwd": {"type": ["string", "null"], "description": "Relative to the sandbox."},
        "port_expected_count": {"type": "integer", "minimum": 0, "maximum": 1, "default": 1},
        "forward_stdout": {"type": "boolean", "default": False},
        "port": _PORT,
        "ports": {"type": "object", "additionalProperties": _PORT, "maxProperties": 16},
        "timeout": {"type": ["number", "null"], "exclusiveMinimum": 0, "description": "Seconds."},
        "limits": {
            "type": "object",
            "description": "Of all its processes together. Who goes beyond is ended: out-of-memory, else limit.",
            "properties": {
                name: {"type": "integer", "minimum": 1, "maximum": 1 << 53}
                for name in (
                    "memory_bytes",
                    "processes",
                    "cpu_seconds",
                    "file_bytes",
                    "output_bytes",
                    "sandbox_bytes",
                )
            },
            "additionalProperties": False,
        },
    },
    "required": ["args"],
    "additionalProperties": False,
}


LIST_QUERY: Mapping[str, Mapping[str, Any]] = {
    **QUERY,
    "agent": {"type": "string", "description": "Jobs of this agent only."},
    "state": {"enum": list(JobState), "description": "Jobs in this state only."},
    "label": {
        "type": "array",
        "items": {"type": "string", "pattern": ":"},
        "description": "KEY:VALUE; all that are given must fit.",
    },
}
CREATE_QUERY: Mapping[str, Mapping[str, Any]] = {
    "queue": {
        "type": "number",
        "minimum": 0,
        "maximum": 10**9,
        "description": "Seconds for which the job may wait for an agent with room, at most queue.max_wait; 0: none.",
    }
}
WAIT_QUERY: Mapping[str, Mapping[str, Any]] = {
    "timeout": {
        "type": "number",
        "minimum": 0,
        "maximum": 10**9,
        "description": "Seconds; then the job as it is is the answer.",
    },
    "for": {
        "enum": ["end", "agent"],
        "default": "end",
        "description": "Of a job in the queue `agent` is until it has one, or was given up; of all others, at once.",
    },
}


class JobsApi:
    """Plugin `jobs_api`."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        read = ("GET", "HEAD")
        job = "/jobs/{job}"
        return [
            Route(
                ("POST",),
                "/jobs/create",
                "job.create",
                "Make an empty job.",
                self._create,
                schema=CREATE,
                recorded=True,
                query=CREATE_QUERY,
                answer=JOB_INFO,
                answers={202: "It waits for an agent; Location is where to ask for it."},
            ),
            Route(
                read,
                "/jobs",
                "job.read",
                "Jobs of all agents, oldest first.",
                self._list,
                query=LIST_QUERY,
                answer=JOBS,
            ),
            Route(("POST",), f"{job}/start", "job.start", "Start a job.", self._start, schema=START, answer=JOB_INFO),
            Route(
                ("POST",),
                f"{job}/wait",
                "job.read",
                "Until the job has ended, or (`for=agent`) has an agent.",
                self._wait,
                away_ok=True,
                queued_ok=True,
                query=WAIT_QUERY,
                answer=JOB_INFO,
            ),
            Route(read, f"{job}/info", "job.read", "One job.", self._info, queued_ok=True, answer=JOB_INFO),
            Route(read, job, "job.read", "One job.", self._info, queued_ok=True, answer=JOB_INFO),
            Route(
                ("POST",),
                f"{job}/remove",
                "job.remove",
                "End a job and delete all of it.",
                self._remove,
                answer=JOB_INFO,
                gone_ok=True,
                queued_ok=True,
            ),
            Route(
                ("DELETE",),
                job,
                "job.remove",
                "End a job and delete all of it.",
                self._remove,
                answer=JOB_INFO,
                gone_ok=True,
                queued_ok=True,
            ),
        ]

    @property
    def router(self) -> Router:
        assert self._router is not None
        return self._router

    def _reply(self, agent: AgentUid, record: JobRecord) -> Reply:
        return Reply.json(self.router.jobs.info(record, agent))

    async def _create(self, call: Call) -> Reply:
        request, seconds = create_request(call), float(call.query.get("queue", 0))
        if seconds <= 0:
            return self._reply(*await self.router.jobs.create(request, call.principal))
        made = await self.router.queue.create(request, call.principal, seconds)
        if not isinstance(made, QueuedJob):
            return self._reply(*made)
        if not made.waits:
            return Reply.json(made.shown())
        return Reply.json(made.shown(), 202, {"Location": call.public_prefix + made.path})

    async def _list(self, call: Call) -> Reply:
        jobs, query = self.router.jobs, call.query
        state, labels = query.get("state"), pairs(call.head.query, "label")
        if state is not None and state not in JobState.__members__:
            raise InvalidRequest(f"Invalid request: state={state[:20]!r} is none of {', '.join(JobState)}")
        found: list[tuple[AgentUid, JobRecord] | QueuedJob] = [
            (agent, record)
            for agent, record in jobs.list()
            if query.get("agent") in (None, agent) and state in (None, record.state) and fits(labels, record.labels)
        ]
        if "agent" not in query:
            found += [
                job for job in self.router.queue.list() if state in (None, job.state) and fits(labels, job.labels)
            ]
        shown, following = page(found, _age, query)
        return Reply.json({"jobs": [self._listed(job) for job in shown], "next": following})

    def _listed(self, job: tuple[AgentUid, JobRecord] | QueuedJob) -> Mapping[str, Any]:
        return job.shown() if isinstance(job, QueuedJob) else self.router.jobs.info(job[1], job[0])

    async def _start(self, call: Call) -> Reply:
        ref = call.job_ref()
        request, key = start_request(call.body), idempotency_key(call.head)
        record = await self.router.jobs.start(ref, request, key, call.public_prefix)
        return self._reply(ref.agent, record)

    async def _wait(self, call: Call) -> Reply:
        seconds = call.query.get("timeout")
        until = time.monotonic() + float(seconds) if seconds is not None else None
        if call.queued is not None:
            found = await self.router.queue.wait(call.queued.uid, _left(until))
            if isinstance(found, QueuedJob):
                return Reply.json(found.shown())
            ref = found
        else:
            ref = call.job_ref()
        if call.query.get("for") == "agent":
            return self._reply(ref.agent, self.router.jobs.get(ref))
        return self._reply(ref.agent, await self.router.jobs.wait(ref, _left(until)))

    async def _info(self, call: Call) -> Reply:
        if call.queued is not None:
            return Reply.json(call.queued.shown())
        ref = call.job_ref()
        return self._reply(ref.agent, self.router.jobs.get(ref))

    async def _remove(self, call: Call) -> Reply:
        if call.queued is not None:
            found = await self.router.queue.remove(call.queued.uid, idempotency_key(call.head))
            if isinstance(found, QueuedJob):
                return Reply.json(found.shown())
            ref = found
        else:
            ref = call.job_ref()
        record = await self.router.jobs.remove(ref, idempotency_key(call.head))
        return self._reply(ref.agent, record)


def _age(job: tuple[AgentUid, JobRecord] | QueuedJob) -> tuple[float, str]:
    """Oldest first, those that wait by when they came."""
    return (job.since, job.uid) if isinstance(job, QueuedJob) else (job[1].created_at or 0.0, job[1].uid)


def _left(until: float | None) -> float | None:
    """Seconds."""
    return max(0.0, until - time.monotonic()) if until is not None else None


def start_request(body: Mapping[str, Any]) -> StartRequest:
    """From a body that fits START. Without `port` and `ports` the original's `port_expected_count` decides."""
    if "port" in body and "ports" in body:
        raise InvalidRequest("Invalid request: give either `port` or `ports`, not both")
    if "ports" in body:
        ports = tuple(PortRequest.from_wire(dict(port) | {"name": name}) for name, port in body["ports"].items())
    elif "port" in body:
        ports = (PortRequest.from_wire(body["port"]),)
    else:
        ports = (PortRequest(),) if body.get("port_expected_count", 1) else ()
    return StartRequest(
        args=tuple(body["args"]),
        env=dict(body.get("env") or {}),
        cwd=body.get("cwd"),
        name=body.get("name"),
        ports=ports,
        forward_stdout=bool(body.get("forward_stdout")),
        timeout_seconds=body.get("timeout"),
        limits=dict(body.get("limits") or {}),
    )

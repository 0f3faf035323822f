"""The routes of jobs: create, list, start, wait, info, remove. What they mean is in the Jobs service."""

from __future__ import annotations

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
WAIT_QUERY = {
    "timeout": {
        "type": "number",
        "minimum": 0,
        "maximum": 10**9,
        "description": "Seconds; then the job as it is is the answer.",
    }
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
                answer=JOB_INFO,
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
                "Until the job has ended.",
                self._wait,
                away_ok=True,
                query=WAIT_QUERY,
                answer=JOB_INFO,
            ),
            Route(read, f"{job}/info", "job.read", "One job.", self._info, answer=JOB_INFO),
            Route(
                ("POST",),
                f"{job}/remove",
                "job.remove",
                "End a job and delete all of it.",
                self._remove,
                answer=JOB_INFO,
                gone_ok=True,
            ),
            Route(
                ("DELETE",),
                job,
                "job.remove",
                "End a job and delete all of it.",
                self._remove,
                answer=JOB_INFO,
                gone_ok=True,
            ),
        ]

    @property
    def router(self) -> Router:
        assert self._router is not None
        return self._router

    def _reply(self, agent: AgentUid, record: JobRecord) -> Reply:
        return Reply.json(self.router.jobs.info(record, agent))

    async def _create(self, call: Call) -> Reply:
        request = create_request(call)
        agent, record = await self.router.jobs.create(request, call.principal)
        return self._reply(agent, record)

    async def _list(self, call: Call) -> Reply:
        jobs, query = self.router.jobs, call.query
        state, labels = query.get("state"), pairs(call.head.query, "label")
        if state is not None and state not in JobState.__members__:
            raise InvalidRequest(f"Invalid request: state={state[:20]!r} is none of {', '.join(JobState)}")
        found = [
            (agent, record)
            for agent, record in jobs.list()
            if query.get("agent") in (None, agent) and state in (None, record.state) and fits(labels, record.labels)
        ]
        shown, following = page(found, lambda job: (job[1].created_at or 0.0, job[1].uid), query)
        return Reply.json({"jobs": [jobs.info(record, agent) for agent, record in shown], "next": following})

    async def _start(self, call: Call) -> Reply:
        ref = call.job_ref()
        request, key = start_request(call.body), idempotency_key(call.head)
        record = await self.router.jobs.start(ref, request, key, call.public_prefix)
        return self._reply(ref.agent, record)

    async def _wait(self, call: Call) -> Reply:
        ref, seconds = call.job_ref(), call.query.get("timeout")
        record = await self.router.jobs.wait(ref, float(seconds) if seconds is not None else None)
        return self._reply(ref.agent, record)

    async def _info(self, call: Call) -> Reply:
        ref = call.job_ref()
        return self._reply(ref.agent, self.router.jobs.get(ref))

    async def _remove(self, call: Call) -> Reply:
        ref = call.job_ref()
        record = await self.router.jobs.remove(ref, idempotency_key(call.head))
        return self._reply(ref.agent, record)


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

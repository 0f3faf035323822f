"""The routes by which people steer a job that was started: stop, signal, restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.jobs import JobRecord
from prouter.model.plugin import Call, Route, idempotency_key
from prouter.model.schemas import JOB_INFO
from prouter.model.services import Router

_SIGNAL = {"type": "string", "pattern": "^(SIG)?[A-Z][A-Z0-9]{0,15}$", "description": "By name: TERM, INT, HUP."}
STOP = {
    "type": "object",
    "properties": {
        "signal": _SIGNAL | {"default": "TERM"},
        "grace": {
            "type": "number",
            "minimum": 0,
            "maximum": 3600,
            "description": "Seconds until the whole tree is killed; without it the agent's jobs.stop_grace.",
        },
    },
    "additionalProperties": False,
}
SIGNAL = {
    "type": "object",
    "properties": {"signal": _SIGNAL},
    "required": ["signal"],
    "additionalProperties": False,
}


class JobControl:
    """Plugin `job_control`."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        post, job = ("POST",), "/jobs/{job}"
        return [
            Route(
                post,
                f"{job}/stop",
                "job.stop",
                "Ask a job to end by a signal; after a grace its tree is killed.",
                self._stop,
                schema=STOP,
                schema_optional=True,
                answer=JOB_INFO,
            ),
            Route(
                post,
                f"{job}/signal",
                "job.signal",
                "Send a signal to a job's process.",
                self._signal,
                schema=SIGNAL,
                answer=JOB_INFO,
            ),
            Route(
                post,
                f"{job}/restart",
                "job.start",
                "Start a finished job again as it was.",
                self._restart,
                answer=JOB_INFO,
            ),
        ]

    @property
    def router(self) -> Router:
        assert self._router is not None
        return self._router

    async def _stop(self, call: Call) -> Reply:
        body: Mapping[str, Any] = call.body
        ref = call.job_ref()
        name = body.get("signal", "TERM")
        return self._reply(call, await self.router.jobs.stop(ref, name, body.get("grace"), idempotency_key(call.head)))

    async def _signal(self, call: Call) -> Reply:
        name = call.body["signal"]
        return self._reply(call, await self.router.jobs.signal(call.job_ref(), name, idempotency_key(call.head)))

    async def _restart(self, call: Call) -> Reply:
        return self._reply(call, await self.router.jobs.restart(call.job_ref(), idempotency_key(call.head)))

    def _reply(self, call: Call, record: JobRecord) -> Reply:
        return Reply.json(self.router.jobs.info(record, call.job_ref().agent))

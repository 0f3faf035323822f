"""The router's half: file requests go to the agent's own service as they are, their path made the job's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.http import ForwardPlan, RequestHead
from prouter.model.plugin import AgentService, Call, Relay, Route
from prouter.model.schemas import UPLOADED

BYTES = "application/octet-stream"
_SWITCH = {"enum": ["0", "1"], "default": "0"}
DOWNLOAD: Mapping[str, Mapping[str, Any]] = {"remove": _SWITCH | {"description": "1: delete it once it was sent."}}
UPLOAD: Mapping[str, Mapping[str, Any]] = {"executable": _SWITCH | {"description": "1: a program, mode 755."}}


class FileTransfer:
    """Plugin `file_transfer` of the router."""

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        path = "/jobs/{job}/file/{rest...}"
        return [
            Route(
                ("GET", "HEAD"),
                path,
                "files.read",
                "Download a file.",
                relay=self._relay,
                query=DOWNLOAD,
                media_type=BYTES,
            ),
            Route(
                ("POST", "PUT"),
                path,
                "files.write",
                "Upload a file.",
                relay=self._relay,
                query=UPLOAD,
                answer=UPLOADED,
                binary_body=True,
            ),
        ]

    async def _relay(self, call: Call) -> Relay:
        ref = call.job_ref()
        head: RequestHead = call.head
        query = f"?{head.query}" if head.query else ""
        plan = ForwardPlan(
            target=f"/jobs/{ref.job}/file/{call.raw['rest']}{query}",
            host="agent",
            drop=frozenset(("host", "origin", "x-request-id")) | call.principal.used_headers,
            drop_cookies=call.principal.used_cookies,
            set_headers=(("X-Request-Id", call.request_id),),
        )
        return Relay(AgentService(ref.agent), plan)

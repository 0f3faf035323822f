"""The router's half: archive requests go to the agent's own service as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.http import ForwardPlan
from prouter.model.plugin import AgentService, Call, Relay, Route

_SWITCH: Mapping[str, Any] = {"enum": ["0", "1"], "default": "0"}
DOWNLOAD: Mapping[str, Mapping[str, Any]] = {
    "include": {"type": "string", "description": "Only paths that match this glob; * crosses slashes."},
    "exclude": {"type": "string", "description": "No paths that match this glob."},
    "compress": {**_SWITCH, "description": "1: a tar.gz."},
    "path": {"type": "string", "description": "This directory of the sandbox only."},
    "format": {"enum": ["tar", "zip"], "default": "tar", "description": "Of the archive."},
}
UNPACKED: Mapping[str, Any] = {
    "type": "object",
    "properties": {"entries": {"type": "integer"}, "bytes": {"type": "integer"}},
    "required": ["entries", "bytes"],
}


class ArchiveTransfer:
    """Plugin `archive_transfer` of the router."""

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        path = "/jobs/{job}/archive"
        return [
            Route(
                ("GET",),
                path,
                "files.read",
                "Download the sandbox as an archive.",
                relay=self._relay,
                query=DOWNLOAD,
                media_type="application/x-tar",
            ),
            Route(
                ("POST",),
                path,
                "files.write",
                "Upload and unpack a tar or tar.gz, all of it or nothing.",
                relay=self._relay,
                binary_body=True,
                answer=UNPACKED,
            ),
        ]

    async def _relay(self, call: Call) -> Relay:
        ref, query = call.job_ref(), f"?{call.head.query}" if call.head.query else ""
        plan = ForwardPlan(
            target=f"/jobs/{ref.job}/archive{query}",
            host="agent",
            drop=frozenset(("host", "origin", "x-request-id")) | call.principal.used_headers,
            drop_cookies=call.principal.used_cookies,
            set_headers=(("X-Request-Id", call.request_id),),
        )
        return Relay(AgentService(ref.agent), plan)

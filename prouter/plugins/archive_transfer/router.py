"""The router's half: archive requests go to the agent's own service as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.plugin import Call, Relay, Route, relay_to_agent
from prouter.model.query import SWITCH

DOWNLOAD: Mapping[str, Mapping[str, Any]] = {
    "include": {"type": "string", "description": "Only paths that match this glob; * crosses slashes."},
    "exclude": {"type": "string", "description": "No paths that match this glob."},
    "compress": {**SWITCH, "description": "1: a tar.gz."},
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
        return relay_to_agent(call, "archive")

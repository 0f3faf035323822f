"""A line of JSON for every request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from prouter import hookspecs, implements
from prouter.model.audit import AuditEvent
from prouter.model.plugin import ConfigSection, HealthCheck
from prouter.model.services import Router
from prouter.model.times import rfc3339

NAME = "audit_log"
SETTINGS: dict[str, dict[str, Any]] = {
    "file": {
        "type": ["string", "null"],
        "default": None,
        "description": "Where the lines go. None: `audit.jsonl` in the plugin's state directory.",
    },
    "max_bytes": {
        "type": "integer",
        "minimum": 1000,
        "default": 100_000_000,
        "description": "Bytes of the file; then it is kept beside a new one, in the place of the one before.",
    },
    "reads": {"type": "boolean", "default": False, "description": "Whether requests that only look have a line."},
}


class AuditLog:
    """Writes what it is told."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._failure = ""

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        section = router.config.section(NAME)
        self._path = Path(section["file"] or router.state_directory / "audit.jsonl")
        self._max_bytes: int = section["max_bytes"]
        self._reads: bool = section["reads"]
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    @implements(hookspecs.prouter_audit)
    async def prouter_audit(self, event: AuditEvent) -> None:
        looked = event.action.endswith(".read") and event.status < 400
        if self._reads or not looked:
            await self._write(line(event))

    @implements(hookspecs.prouter_news_missed)
    async def prouter_news_missed(self, count: int) -> None:
        await self._write({"missed": count})

    @implements(hookspecs.prouter_health)
    def prouter_health(self) -> HealthCheck | None:
        return HealthCheck(NAME, ok=not self._failure, detail=self._failure)

    @implements(hookspecs.prouter_shutdown)
    def prouter_shutdown(self) -> None:
        if self._file is not None:
            self._file.close()

    async def _write(self, document: Mapping[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._append, json.dumps(document, separators=(",", ":")) + "\n")
            self._failure = ""
        except OSError as error:
            self._failure = f"{self._path} can not be written: {error.strerror}"
            raise

    def _append(self, text: str) -> None:
        if self._file is not None and self._file.tell() + len(text) > self._max_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = None
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(text)
        self._file.flush()


def line(event: AuditEvent) -> dict[str, Any]:
    """What is kept of a request."""
    return {
        "at": rfc3339(event.at),
        "request": event.request_id,
        "peer": event.peer.host,
        "principal": event.principal,
        "authenticator": event.authenticator,
        "method": event.method,
        "path": event.path,
        "action": event.action,
        "agent": event.resource.agent,
        "job": event.resource.job,
        "status": event.status,
        "reason": event.reason,
        "decisions": [decision.shown() for decision in event.decisions],
    }

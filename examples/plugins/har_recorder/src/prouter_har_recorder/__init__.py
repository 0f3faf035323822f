"""What goes between clients and a job with the label `record=har`, as a HAR file: heads, sizes and times."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prouter import hookspecs, implements
from prouter.errors import NotFound
from prouter.model.agents import AgentInfo
from prouter.model.http import Reply, RequestHead, ResponseHead
from prouter.model.jobs import JobRecord, JobState
from prouter.model.plugin import Call, ConfigSection, JobTarget, Route
from prouter.model.proxying import ProxyFinished
from prouter.model.services import Router
from prouter_har_recorder.har import entry, har

NAME = "har_recorder"
LABEL, VALUE = "record", "har"
MOST_OPEN = 1000
"""Requests that have begun and not ended; one that another plugin answers never ends."""
HIDDEN = ["*token*", "*secret*", "*password*", "*key*", "*auth*", "code", "sig*"]
FULL: dict[str, Any] = {"type": "integer", "minimum": 1, "default": 10**7}
HIDE: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "default": HIDDEN}
SETTINGS: dict[str, dict[str, Any]] = {
    "max_bytes": FULL | {"description": "Bytes of a job's requests after which no more are recorded."},
    "hide": HIDE | {"description": "Names (globs, any case) of headers and parameters whose values are not recorded."},
}


class HarRecorder:
    """Hears of each proxied request three times, by its head, by that of the answer and at its end."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, str], tuple[RequestHead, ResponseHead | None]] = {}

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._router = router
        section = router.config.section(NAME)
        self._max_bytes: int = section["max_bytes"]
        self._hide = [glob.lower() for glob in section["hide"]]

    @implements(hookspecs.prouter_routes)
    def prouter_routes(self) -> Sequence[Route]:
        about, answer = "What went to a job that is recorded, as a HAR file.", {"type": "object"}
        return [Route(("GET",), "/jobs/{job}/har", "job.har.read", about, self._get, away_ok=True, answer=answer)]

    @implements(hookspecs.prouter_proxy_request)
    def prouter_proxy_request(self, head: RequestHead, target: JobTarget) -> RequestHead | Reply | None:
        if self._router.jobs.get(target.ref).labels.get(LABEL) == VALUE:
            self._open[_key(target)] = (head, None)
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
        return None

    @implements(hookspecs.prouter_proxy_response)
    def prouter_proxy_response(self, answer: ResponseHead, target: JobTarget) -> ResponseHead | None:
        if (found := self._open.get(_key(target))) is not None:
            self._open[_key(target)] = (found[0], answer)
        return None

    @implements(hookspecs.prouter_proxy_finished)
    async def prouter_proxy_finished(self, finished: ProxyFinished) -> None:
        if (found := self._open.pop(_key(finished.target), None)) is not None:
            made = entry(found[0], found[1], finished, self._hide)
            await asyncio.to_thread(_append, self._file(finished.target.ref.job), made, self._max_bytes)

    @implements(hookspecs.prouter_job_state_changed)
    async def prouter_job_state_changed(self, agent: AgentInfo, record: JobRecord) -> None:
        if record.state is JobState.CLOSED:
            await asyncio.to_thread(self._file(record.uid).unlink, missing_ok=True)

    async def _get(self, call: Call) -> Reply:
        file = self._file(call.job_ref().job)
        try:
            lines = (await asyncio.to_thread(file.read_bytes)).splitlines()
        except FileNotFoundError:
            raise NotFound(f"nothing was recorded: the job needs the label {LABEL}={VALUE}, and requests") from None
        name = {"Content-Disposition": f'attachment; filename="{file.stem}.har"'}
        return Reply.json(har([json.loads(line) for line in lines], self._router.version), headers=name)

    def _file(self, job: str) -> Path:
        return self._router.state_directory / f"{job}.jsonl"


def _key(target: JobTarget) -> tuple[str, int, str]:
    """Clients may choose their request ids, but a connection has one request at a time."""
    return target.peer.host, target.peer.port, target.request_id


def _append(file: Path, made: dict[str, Any], max_bytes: int) -> None:
    """A whole line by one write, unless the file is full. Blocks."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("ab") as lines:
        if lines.tell() < max_bytes:
            lines.write(json.dumps(made).encode() + b"\n")

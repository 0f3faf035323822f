"""How much clients may upload to a job of this agent, and how large one file may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prouter import agent_hookspecs, implements
from prouter.errors import TooLarge
from prouter.model.access import Refusal
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost
from prouter.model.writes import FileWrite, WriteWay

NAME = "upload_quota"
MOST_NAMES = 100_000
"""That are looked at in a sandbox that was there before this agent."""
BYTES: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0, "default": None}
SETTINGS: dict[str, dict[str, Any]] = {
    "file_bytes": BYTES | {"description": "Bytes that one uploaded file may have. None: any number."},
    "job_bytes": BYTES | {"description": "Bytes that may be uploaded to one job. None: any number."},
    "need_length": {
        "type": "boolean",
        "default": False,
        "description": "Whether uploads are refused whose length is not said at their beginning.",
    },
}


@dataclass(slots=True)
class Uploaded:
    """Bytes of one job. What replaces a file counts instead of it."""

    paths: dict[str, int] = field(default_factory=dict)
    settled: int = 0
    """Of paths that are not followed any more."""

    def with_file(self, path: str, size: int) -> int:
        """How many there are once it has come."""
        return self.settled + sum(self.paths.values()) - self.paths.get(path, 0) + size

    def settle(self) -> None:
        """Something was moved: a file may be where its path does not say, so nothing is replaced any more."""
        self.settled, self.paths = self.settled + sum(self.paths.values()), {}


class UploadQuota:
    """A veto on writing files; remembers for each job what was let through."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._jobs: dict[JobUid, Uploaded] = {}

    @implements(agent_hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(agent_hookspecs.prouter_startup)
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent
        section = agent.config.section(NAME)
        self._file_bytes: int | None = section["file_bytes"]
        self._job_bytes: int | None = section["job_bytes"]
        self._need_length: bool = section["need_length"]

    @implements(agent_hookspecs.prouter_before_file_write)
    async def prouter_before_file_write(self, record: JobRecord, write: FileWrite) -> Refusal | None:
        if write.way is WriteWay.DIRECTORY:
            return None
        uploaded = self._jobs.get(record.uid) or await self._known(record.uid)
        if write.way is WriteWay.MOVE:
            uploaded.settle()
            return None
        if write.size_bytes is None:
            return Refusal("say how long it is: Content-Length is needed here") if self._need_length else None
        if self._file_bytes is not None and write.size_bytes > self._file_bytes:
            return Refusal(f"{write.path}: {write.size_bytes} bytes, a file may have {self._file_bytes} here")
        total = uploaded.with_file(write.path, write.size_bytes)
        if self._job_bytes is not None and total > self._job_bytes:
            return Refusal(f"{write.path}: with it {total} bytes were uploaded, a job may have {self._job_bytes} here")
        uploaded.paths[write.path] = write.size_bytes
        return None

    @implements(agent_hookspecs.prouter_cleanup_sandbox)
    def prouter_cleanup_sandbox(self, record: JobRecord, sandbox: Path) -> None:
        self._jobs.pop(record.uid, None)

    async def _known(self, job: JobUid) -> Uploaded:
        """A new job has nothing; of one that was there before this agent all that is in its sandbox counts."""
        found = 0
        try:
            async with self._agent.jobs.files(job) as files:
                async for entries in files.walk("", lambda path: False, MOST_NAMES):
                    found += sum(entry.size for _, entry in entries if entry.type == "file")
        except TooLarge:
            found = self._job_bytes or 0  # too many to count: as if it were full
        return self._jobs.setdefault(job, Uploaded(settled=found))

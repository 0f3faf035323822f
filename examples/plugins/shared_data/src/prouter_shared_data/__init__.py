"""Data sets of an agent in the sandboxes of its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prouter import agent_hookspecs, implements
from prouter.errors import StartupError
from prouter.model.access import Refusal
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost

NAME = "shared_data"
LINKED = "data"
"""The directory in a sandbox."""
PREPARING = ".preparing"
"""While this file is there, the data is not complete."""
MAX_ENTRIES = 1000
LOOK_SECONDS = 0.1
DIRECTORY: dict[str, Any] = {
    "type": ["string", "null"],
    "default": None,
    "description": "Directory whose entries each sandbox has as links below `data`. None: nothing is linked.",
}


class SharedData:
    """Prepares sandboxes, says when a job is ready and when it may be stopped."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._users: set[JobUid] = set()

    @implements(agent_hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, {"directory": DIRECTORY})]

    @implements(agent_hookspecs.prouter_startup)
    def prouter_startup(self, agent: AgentHost) -> None:
        self._jobs, given = agent.jobs, agent.config.section(NAME)["directory"]
        self._directory = Path(given).absolute() if given is not None else None
        if self._directory is not None and not self._directory.is_dir():
            raise StartupError(f"{NAME}.directory: {given} is no directory")

    @implements(agent_hookspecs.prouter_prepare_sandbox)
    async def prouter_prepare_sandbox(self, record: JobRecord, sandbox: Path) -> None:
        if self._directory is not None:
            await asyncio.to_thread(link_entries, self._directory, sandbox / LINKED)
            self._users.add(record.uid)

    @implements(agent_hookspecs.prouter_cleanup_sandbox)
    def prouter_cleanup_sandbox(self, record: JobRecord, sandbox: Path) -> None:
        self._users.discard(record.uid)

    @implements(agent_hookspecs.prouter_job_ready)
    async def prouter_job_ready(self, record: JobRecord) -> None:
        if self._directory is None:
            return
        marker = self._directory / PREPARING
        while await asyncio.to_thread(marker.exists):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)

    @implements(agent_hookspecs.prouter_job_idle)
    def prouter_job_idle(self, record: JobRecord, idle_seconds: float) -> Refusal | None:
        wanted = record.labels.get("keep") == "data" and record.uid in self._users
        return Refusal("it keeps its data at hand") if wanted else None

    @implements(agent_hookspecs.prouter_job_ended)
    def prouter_job_ended(self, record: JobRecord) -> None:
        self._users.discard(record.uid)

    @implements(agent_hookspecs.prouter_news_missed)
    def prouter_news_missed(self, count: int) -> None:
        """Ends of jobs may be among them: look for ourselves."""
        self._users &= {record.uid for record in self._jobs.list() if not record.ended}


def link_entries(source: Path, place: Path) -> None:
    """A link to each entry. Raises OSError."""
    place.mkdir()
    entries = sorted(entry for entry in source.iterdir() if entry.name != PREPARING)
    for entry in entries[:MAX_ENTRIES]:
        (place / entry.name).symlink_to(entry)

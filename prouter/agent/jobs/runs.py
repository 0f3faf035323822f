"""The runs of a job one after another, for who follows its output."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prouter.agent.jobs.held import HeldDriver
from prouter.agent.jobs.records import Launch
from prouter.agent.output.reader import output_ends
from prouter.model.jobs import StartRequest
from prouter.model.output import OutputStream
from prouter.model.plugin import Running


@dataclass(frozen=True, slots=True)
class Start:
    """A start that was accepted."""

    driver: HeldDriver
    request: StartRequest
    key: str | None
    """The Idempotency-Key of who asked for it."""
    running: Running | None = None
    """The tree, when an earlier run of the agent began it."""
    launch: Launch = Launch({}, 0)  # noqa: RUF009 -- a frozen value
    """What that tree was given."""


class Run:
    """One run, or the one to come."""

    def __init__(self, *, begun: bool = False, begins_at: int = 0) -> None:
        self.begun = begun
        self.begins_at = begins_at
        """The offset of its first byte in the view of both streams."""
        self.ends: Mapping[OutputStream | None, int] | None = None
        """Where its output ended in each view; known once the next one is about to begin."""

    async def next(self, job_directory: Path) -> Run:
        """The run that begins now, before it can write anything."""
        if not self.begun:
            self.begun = True
            return self
        self.ends = await asyncio.to_thread(output_ends, job_directory)
        return Run(begun=True, begins_at=self.ends[None])

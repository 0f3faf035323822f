"""Jobs whose records were torn: `torn-UID` beside the jobs, for people to look at, until they are as old as a finished
job may become, or the quota wants their room.

Belongs here: which there are, how old each is, its removal. Does not: when a record counts as torn (records.py), which
of them go (clean_up.py), and when (finished.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prouter.agent.jobs.kept import Kept
from prouter.agent.jobs.records import TORN, JobDirectory
from prouter.model.ids import JobUid, is_job_uid
from prouter.model.jobs import JobRecord, JobState, Sender

NOBODY = Sender("", "", "")
"""Whose it was is not known any more."""


class SetAside:
    """One of them, as a job that finished when it was set aside; its `uid` is the directory's name."""

    def __init__(self, path: Path, since: float) -> None:
        self.directory = JobDirectory(path)
        self.record = JobRecord(JobUid(path.name), "", NOBODY, JobState.FINISHED, finished_at=since)
        self.kept = Kept(self.directory, {})
        self.removing = False

    async def remove(self) -> None:
        """With all that it has. Raises Unavailable, NoRoom; it is there still, or gone with a second try."""
        self.removing = True
        try:
            await asyncio.to_thread(self.directory.delete)
        finally:
            self.removing = False


class Aside:
    """All of them below the directory of jobs, as they were when somebody looked last."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, SetAside] = {}
        self._looking = asyncio.Lock()

    def __iter__(self) -> Iterator[SetAside]:
        return iter(list(self._found.values()))

    async def look(self) -> None:
        """Again: people take them away, or mend them. A directory that can not be read holds what it held."""
        async with self._looking:
            with suppress(OSError):
                there = await asyncio.to_thread(_set_aside_in, self._root)
                self._found = {path.name: self._found.get(path.name) or SetAside(path, at) for path, at in there}


def _set_aside_in(root: Path) -> list[tuple[Path, float]]:
    """Each with the time at which it got its name, or at which somebody last put something in or took it out."""
    found = []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(TORN) and is_job_uid(entry.name.removeprefix(TORN)):
                with suppress(OSError):
                    found.append((root / entry.name, entry.stat(follow_symlinks=False).st_ctime))
    return found

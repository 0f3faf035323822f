"""Jobs whose records were torn: `torn-UID` beside the jobs, for people to look at, until they are as old as a finished
job may become, or the quota wants their room.

Belongs here: which there are, how old each is, its removal. Does not: when a record counts as torn (records.py), which
of them go (clean_up.py), and when (finished.py).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prouter.agent.jobs.held import HeldDriver
from prouter.agent.jobs.kept import Kept
from prouter.agent.jobs.records import TORN, JobDirectory
from prouter.model.ids import JobUid, is_job_uid
from prouter.model.jobs import JobRecord, JobState, Sender

TELLS_CHANGES = os.name == "posix"
"""Whether st_ctime is when a directory was changed or renamed; on Windows it is when it was made."""
NOBODY = Sender("", "", "")
"""Whose it was is not known any more."""


class SetAside:
    """One of them, as a job that finished when it was set aside; its `uid` is the directory's name."""

    def __init__(self, path: Path, since: float, drivers: Iterable[HeldDriver]) -> None:
        self._drivers = drivers
        self.directory = JobDirectory(path)
        self.record = JobRecord(JobUid(path.name), "", NOBODY, JobState.FINISHED, finished_at=since)
        self.kept = Kept(self.directory, {})
        self.removing = False

    async def remove(self) -> None:
        """With all that it has, and what may still run of it. Raises Unavailable, NoRoom; it is there still, or gone
        with a second try."""
        self.removing = True  # and stays so: its room is not counted any more
        try:
            await self._end_tree()
            await asyncio.to_thread(self.directory.delete)
        except BaseException:
            self.removing = False
            raise

    async def _end_tree(self) -> None:
        """It was ended when this was set aside, where that was possible. A job of its uid, mended since, is another."""
        path, uid = self.directory.path, _uid_in(self.directory.path.name)
        if uid is not None and not await asyncio.to_thread(path.with_name(uid).exists):
            for driver in self._drivers:
                await driver.destroy(uid, str(path))


class Aside:
    """All of them below the directory of jobs, as they were when somebody looked last."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.drivers: Iterable[HeldDriver] = ()
        """Any of them may have begun it; its record does not say."""
        self._found: dict[str, SetAside] = {}
        self._looking = asyncio.Lock()

    def __iter__(self) -> Iterator[SetAside]:
        return iter(list(self._found.values()))

    async def look(self) -> None:
        """Again: people take them away, or mend them. A directory that can not be read holds what it held."""
        async with self._looking:
            with suppress(OSError):
                there = await asyncio.to_thread(_set_aside_in, self._root)
                self._found = {path.name: self._known(path, since) for path, since in there}

    def _known(self, path: Path, since: float) -> SetAside:
        found = self._found.get(path.name)
        if found is not None and (found.removing or found.record.finished_at == since):
            return found
        return SetAside(path, since, self.drivers)


def _set_aside_in(root: Path) -> list[tuple[Path, float]]:
    """Each with the time at which it got its name, or at which somebody last put something in or took it out."""
    found = []
    with os.scandir(root) as entries:
        for entry in entries:
            if _uid_in(entry.name):
                with suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    changed = facts.st_ctime if TELLS_CHANGES else 0.0
                    found.append((root / entry.name, max(changed, facts.st_mtime)))
    return found


def _uid_in(name: str) -> JobUid | None:
    """The job's in the name of what was set aside of it."""
    found = re.fullmatch(rf"{re.escape(TORN)}([^-]+)(-[0-9]+)?", name)
    return JobUid(found[1]) if found and is_job_uid(found[1]) else None

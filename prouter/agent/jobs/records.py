"""Records of jobs on disk: one file a job, replaced atomically, on disk before what it says is acted on.

Belongs here: reading and writing `JOB/record.json`, and deleting a directory. Everything here blocks and is called
off the event loop, by jobs/job.py and jobs/registry.py. What a record means is in model/jobs.py.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.files.deleting import delete_tree
from prouter.errors import Conflict, NoRoom, StartupError
from prouter.model.ids import JobUid, is_job_uid
from prouter.model.jobs import JobRecord, StartRequest

log = logging.getLogger(__name__)

RECORD = "record.json"
START = "start.json"
TRAIL = "trail.json"
SANDBOX = "sandbox"
LAST_RUN = ("guardian.json", "exit.json")
"""What a guardian tells of the run before; it must not be taken for the next one's."""
MAX_RECORD_BYTES = 4 * 1024 * 1024
"""A record is a few KiB: names, labels, ports. Larger ones are not ours."""
MAX_TRAIL_BYTES = 65536
"""Of what the router decided about a job; more is not kept."""


@dataclass(frozen=True, slots=True)
class JobDirectory:
    """A job's own directory, 0700; the sandbox is in it."""

    path: Path

    @property
    def sandbox(self) -> Path:
        return self.path / SANDBOX

    @property
    def job(self) -> JobUid:
        return JobUid(self.path.name)

    def make(self) -> None:
        """With its sandbox. Raises NoRoom."""
        try:
            self.path.mkdir(mode=0o700)
            self.sandbox.mkdir(mode=0o700)
        except OSError as error:
            raise NoRoom(f"no directory could be made for the job: {error.strerror}") from error

    def write(self, record: JobRecord, keys: Mapping[str, str] | None = None) -> None:
        """Replace the record; on return it is on disk. Raises NoRoom; the old one is there then.

        `keys` are those of requests that must not be done twice (once.py).
        """
        self._replace(RECORD, record.to_wire() | {"keys": dict(keys or {})})

    def read(self) -> JobRecord:
        """Raises ValueError when there is no whole record of this job."""
        path = self.path / RECORD
        try:
            record = JobRecord.from_wire(self._read(RECORD))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no whole record ({type(error).__name__})") from error
        if record.uid != self.job:
            raise ValueError(f"{path} is the record of another job")
        return record

    def read_keys(self) -> dict[str, str]:
        """Of requests that were done; empty when that can not be read."""
        try:
            return {str(key): str(asked) for key, asked in (self._read(RECORD).get("keys") or {}).items()}
        except (ValueError, AttributeError):
            return {}

    def keep_trail(self, text: str) -> None:
        """What the router decided about this job, as it says. Nobody depends on it, so nobody waits for the disk."""
        content = text.encode("utf-8", "replace")
        if len(content) <= MAX_TRAIL_BYTES:
            with contextlib.suppress(OSError):
                (self.path / TRAIL).write_bytes(content)

    def read_trail(self) -> str | None:
        """None: there is none."""
        try:
            with (self.path / TRAIL).open("rb") as file:
                return file.read(MAX_TRAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def begin_run(self, request: StartRequest) -> None:
        """Keep how the job is started, for a restart; forget how it ended before. Raises NoRoom."""
        self._replace(START, request.to_wire())
        for name in LAST_RUN:
            (self.path / name).unlink(missing_ok=True)

    def last_start(self) -> StartRequest:
        """How the job was started. Raises Conflict when that can not be done again."""
        if not self.sandbox.is_dir():
            raise Conflict(f"job {self.job!r} can not be restarted: its sandbox was cleaned when the job was lost")
        try:
            return StartRequest.from_wire(self._read(START))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Conflict(f"job {self.job!r} can not be restarted: how it was started is not known") from None

    def _replace(self, name: str, content: Mapping[str, Any]) -> None:
        fresh = self.path / f"{name}.new"
        try:
            with fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path / name)
            _sync_directory(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise NoRoom(f"the job's record could not be written: {error.strerror}") from error

    def _read(self, name: str) -> Any:
        """Raises ValueError when it is not there, or not whole."""
        path = self.path / name
        try:
            with path.open("r", encoding="utf-8", errors="surrogateescape") as file:
                return json.loads(file.read(MAX_RECORD_BYTES))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} holds no whole record ({type(error).__name__})") from error

    def clean_sandbox(self) -> None:
        """Delete the sandbox, and what it was called when an earlier attempt was cut short."""
        _delete(self.sandbox)

    def delete(self) -> None:
        """The whole directory; renamed first, so that what a crash leaves behind is no job any more."""
        doomed = self.path.with_name(f".removed-{self.path.name}")
        try:
            self.path.rename(doomed)
        except FileNotFoundError:
            return
        _delete(doomed)


class Records:
    """All jobs' directories below one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, job: JobUid) -> JobDirectory:
        return JobDirectory(self.root / job)

    def read_all(self) -> list[tuple[JobRecord, Mapping[str, str]]]:
        """What earlier runs left: records, each with the keys of requests that must not be done twice.

        Torn records are set aside with a message; leftovers of removals are deleted. Raises StartupError when the
        directory can not be read.
        """
        found: list[tuple[JobRecord, Mapping[str, str]]] = []
        try:
            entries = sorted(self.root.iterdir())
        except OSError as error:
            raise StartupError(f"{self.root} can not be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith(".removed-"):
                _delete(entry)
            elif is_job_uid(entry.name):
                directory = JobDirectory(entry)
                try:
                    found.append((directory.read(), directory.read_keys()))
                except ValueError as error:
                    self._set_aside(directory, str(error))
        return found

    def _set_aside(self, directory: JobDirectory, why: str) -> None:
        """Keep what is there for people to look at, without its sandbox, under a name that is no job."""
        aside = directory.path.with_name(f"torn-{directory.job}")
        try:
            directory.clean_sandbox()
            _delete(aside)
            directory.path.rename(aside)
        except OSError as error:
            log.error("job %s is lost: %s; it could not be set aside: %s", directory.job, why, error.strerror)
            return
        log.error("job %s is lost: %s; what was there is now %s", directory.job, why, aside)


def _sync_directory(path: Path) -> None:
    """Make a rename last. Directories can not be opened on Windows, where the rename itself is written through."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    """What can not be deleted is named in the log."""
    try:
        delete_tree(path)
    except OSError as error:
        log.error("%s could not be deleted whole: %s", path, error)

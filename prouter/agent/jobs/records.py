"""Records of jobs on disk: one file a job, replaced atomically, on disk before what it says is acted on.

Belongs here: reading and writing `JOB/record.json`, and deleting a directory. Everything here blocks and is called
off the event loop, by jobs/job.py and jobs/registry.py. What a record means is in model/jobs.py.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.files.deleting import delete_tree
from prouter.errors import Conflict, NoRoom, ProuterError, StartupError, Unavailable
from prouter.model.ids import JobUid, is_job_uid
from prouter.model.jobs import JobRecord, StartRequest
from prouter.pluginkit.durable import FRESH, replace_file, sync_directory
from prouter.pluginkit.durable import TORN as TORN_JSON

log = logging.getLogger(__name__)

RECORD = "record.json"
START = "start.json"
TRAIL = "trail.json"
SANDBOX = "sandbox"
LAUNCH = "launch.json"
PROBE = "room.new"
"""Whether there is room for a run, is tried by it (room.py)."""
LAST_RUN = ("guardian.json", "exit.json", LAUNCH)
"""What is told of the run before, by its guardian or by us; it must not be taken for the next one's."""
MAKING = "making"
"""There while plugins prepare the sandbox: what was cut short there was acknowledged to nobody."""
REMOVED, TORN = ".removed-", "torn-"
"""Begin the names of directories that are no job any more."""
MAX_TORN = 1000
"""Of one uid; what comes behind that stays where it is."""
MAX_RECORD_BYTES = 4 * 1024 * 1024
"""A record is a few KiB: names, labels, ports. Larger ones are not ours."""
MAX_TRAIL_BYTES = 65536
"""Of what the router decided about a job; more is not kept."""

MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What an agent has again soon."""
NOT_WRITTEN = (NoRoom, Unavailable)
"""What `not_written` makes."""


def not_written(error: OSError, what: str) -> ProuterError:
    """`what` could not be done: for want of room, or of descriptors and memory, which are there again soon."""
    if error.errno in MEANS:
        return Unavailable(f"{what}, the agent has no means for it now: {error.strerror}")
    return NoRoom(f"{what}: {error.strerror}")


@dataclass(frozen=True, slots=True)
class Launch:
    """What a run was given, as far as it is not in its request."""

    ports: Mapping[str, int]
    """Numbers that were picked for it, by the names of its ports."""
    begins_at: int
    """The offset of its first byte of output, of both streams together."""


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
        """With its sandbox; its name is on disk. Raises NoRoom, Unavailable, and leaves nothing then."""
        try:
            self.path.mkdir(mode=0o700)
            self.sandbox.mkdir(mode=0o700)
            sync_directory(self.path.parent)
        except OSError as error:
            if not isinstance(error, FileExistsError):
                self.unmake()
            raise not_written(error, "no directory could be made for the job") from error

    def unmake(self) -> None:
        """What `make` made, and what was written since: nobody was told of the job. Takes no descriptor, of which there
        may be none left."""
        for name in (TRAIL, MAKING, RECORD, f"{RECORD}{FRESH}"):
            with contextlib.suppress(OSError):
                (self.path / name).unlink()
        for made in (self.sandbox, self.path):
            with contextlib.suppress(OSError):
                made.rmdir()
        if self.path.exists():
            _delete(self.path)

    def write(self, record: JobRecord, beside: Mapping[str, Any] | None = None) -> None:
        """Replace the record; on return it is on disk. Raises NoRoom, Unavailable; the old one is there then.

        `beside` is what else is in the file (kept.py).
        """
        self._replace(RECORD, {**(beside or {}), **record.to_wire()})

    def read(self) -> JobRecord:
        """Raises ValueError when there is no whole record of this job."""
        path = self.path / RECORD
        try:
            record = JobRecord.from_wire(self._read(RECORD))
        except (KeyError, TypeError, OverflowError, AttributeError) as error:
            raise ValueError(f"{path} holds no whole record ({type(error).__name__})") from error
        if record.uid != self.job:
            raise ValueError(f"{path} is the record of another job")
        return record

    def read_beside(self) -> Mapping[str, Any]:
        """What was written beside the record; empty when that can not be read."""
        try:
            found = self._read(RECORD)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def unmade(self) -> bool:
        """Whether its making was cut short, so that nobody was ever told of it: there is no record, and it was never
        started, which a record comes before."""
        return not any((self.path / name).exists() for name in (RECORD, START, *LAST_RUN))

    def clean_leftovers(self) -> None:
        """What writes that were cut short left beside their files."""
        for name in (*(f"{name}{FRESH}" for name in (RECORD, START, TRAIL)), PROBE):
            with contextlib.suppress(OSError):
                (self.path / name).unlink(missing_ok=True)

    def keep_trail(self, text: str) -> None:
        """What the router decided about this job, as it says. Nobody depends on it, so nobody waits for the disk."""
        content = text.encode("utf-8", "replace")
        if len(content) <= MAX_TRAIL_BYTES:
            fresh = self.path / f"{TRAIL}{FRESH}"
            with contextlib.suppress(OSError):
                fresh.write_bytes(content)
                fresh.replace(self.path / TRAIL)

    def read_trail(self) -> str | None:
        """None: there is none."""
        try:
            with (self.path / TRAIL).open("rb") as file:
                return file.read(MAX_TRAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def begin_run(self, request: StartRequest) -> None:
        """Keep how the job is started, for a restart; forget how it ended before. Raises NoRoom, Unavailable."""
        self._replace(START, request.to_wire())
        for name in LAST_RUN:
            (self.path / name).unlink(missing_ok=True)

    def last_start(self) -> StartRequest:
        """How the job was started. Raises Conflict when that can not be done again, Unavailable."""
        if not self.sandbox.is_dir():
            raise Conflict(f"job {self.job!r} can not be restarted: its sandbox was cleaned when the job was lost")
        try:
            return StartRequest.from_wire(self._read(START))
        except (*TORN_JSON, AttributeError) as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in MEANS:
                raise not_written(error.__cause__, f"job {self.job!r} can not be restarted") from error
            raise Conflict(f"job {self.job!r} can not be restarted: how it was started is not known") from None

    def keep_launch(self, launch: Launch) -> None:
        """For an agent that takes the job over. Not synced: when the machine is gone, so is the job.

        Raises NoRoom, Unavailable.
        """
        fresh = self.path / f"{LAUNCH}{FRESH}"
        try:
            fresh.write_text(json.dumps({"ports": dict(launch.ports), "begins_at": launch.begins_at}), "utf-8")
            fresh.replace(self.path / LAUNCH)
        except OSError as error:
            raise not_written(error, "the job's launch could not be written") from error

    def read_launch(self) -> Launch:
        """Empty when there is none. Raises Unavailable."""
        try:
            found = self._read(LAUNCH)
            ports = {str(name): int(number) for name, number in found["ports"].items()}
            return Launch(ports, int(found["begins_at"]))
        except (*TORN_JSON, AttributeError) as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in MEANS:
                raise not_written(error.__cause__, f"what job {self.job!r} was given can not be read") from error
            return Launch({}, 0)

    def begin_making(self) -> None:
        with contextlib.suppress(OSError):
            (self.path / MAKING).touch()

    def end_making(self) -> None:
        (self.path / MAKING).unlink(missing_ok=True)

    def is_being_made(self) -> bool:
        """Whether its making was cut short."""
        return (self.path / MAKING).exists()

    def last_start_of_run(self) -> tuple[StartRequest, Launch]:
        """Of a run that goes on. Raises Conflict when that is not known, Unavailable."""
        return self.last_start(), self.read_launch()

    def _replace(self, name: str, content: Mapping[str, Any]) -> None:
        try:
            replace_file(self.path / name, json.dumps(content).encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise not_written(error, "the job's record could not be written") from error

    def _read(self, name: str) -> Any:
        """Raises ValueError when it is not there, or not whole."""
        path = self.path / name
        try:
            with path.open("r", encoding="utf-8", errors="surrogateescape") as file:
                return json.loads(file.read(MAX_RECORD_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} holds no whole record ({type(error).__name__})") from error

    def clean_sandbox(self) -> None:
        """Delete the sandbox, and what it was called when an earlier attempt was cut short."""
        _delete(self.sandbox)

    def delete(self) -> None:
        """The whole directory; renamed first, so that what a crash leaves behind is no job any more.

        Raises Unavailable, and the job is there still, or gone with a second try.
        """
        doomed = self.path.with_name(f"{REMOVED}{self.path.name}")
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.rename(doomed)
            sync_directory(self.path.parent)
        except OSError as error:
            raise not_written(error, "the job could not be deleted") from error
        if doomed.exists():
            _delete(doomed)


class Records:
    """All jobs' directories below one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.set_aside: list[tuple[JobUid, Path]] = []
        """Jobs whose records were torn, and where each is now."""

    def directory(self, job: JobUid) -> JobDirectory:
        return JobDirectory(self.root / job)

    def read_all(self) -> list[tuple[JobRecord, Mapping[str, Any]]]:
        """What earlier runs left: records, each with what was written beside it.

        Torn records are set aside with a message; leftovers of removals, and of jobs that were being made, are
        deleted. Raises StartupError when the directory can not be read.
        """
        found: list[tuple[JobRecord, Mapping[str, Any]]] = []
        try:
            entries = sorted(self.root.iterdir())
        except OSError as error:
            raise StartupError(f"{self.root} can not be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith(REMOVED):
                _delete(entry)
            elif is_job_uid(entry.name):
                directory = JobDirectory(entry)
                directory.clean_leftovers()
                if directory.unmade:
                    log.info(
                        "job %s was being made when the agent ended; nobody was told of it, it is deleted", entry.name
                    )
                    _delete(entry)
                    continue
                try:
                    found.append((directory.read(), directory.read_beside()))
                except ValueError as error:
                    self._set_aside(directory, str(error))
        return found

    def _set_aside(self, directory: JobDirectory, why: str) -> None:
        """Keep what is there for people to look at, files too, under a name that is no job and was none's before."""
        names = (f"{TORN}{directory.job}{number}" for number in ("", *(f"-{n}" for n in range(2, MAX_TORN + 1))))
        aside = next((path for path in map(directory.path.with_name, names) if not os.path.lexists(path)), None)
        try:
            if aside is None:
                raise OSError(errno.EEXIST, f"it was {MAX_TORN} times before")
            directory.path.rename(aside)
            with contextlib.suppress(OSError):  # how old it is, is counted from now (set_aside.py)
                os.utime(aside)
        except OSError as error:
            log.error(
                "job %s is lost: %s; it could not be set aside (%s): move %s away, or mend it, and start the agent "
                "again",
                directory.job,
                why,
                error.strerror,
                directory.path,
            )
            return
        self.set_aside.append((directory.job, aside))
        log.error(
            "job %s is lost: %s; all that was there is now in %s: take from its sandbox what you need and delete "
            "it, or mend %s, name the directory %s again and start the agent again; other jobs are as they were",
            directory.job,
            why,
            aside,
            RECORD,
            directory.job,
        )


def _delete(path: Path) -> None:
    """What can not be deleted is named in the log."""
    try:
        delete_tree(path)
    except OSError as error:
        log.error("%s could not be deleted whole: %s", path, error)

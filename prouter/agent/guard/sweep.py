"""What is left of a job when both its guardian and the keeper died: found by cgroup, else by a tag in the environment.

Also what an earlier agent's guardian wrote of a job's end. Everything here blocks; called in a thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prouter.agent.guard.account import exit_in
from prouter.agent.guard.held import cgroup, trees
from prouter.agent.guard.held import controllers as version_1
from prouter.agent.guard.held.launch import TAG
from prouter.errors import Unavailable
from prouter.model.process import Exit

log = logging.getLogger(__name__)
T = TypeVar("T")

GUARDIAN_SECONDS = 5.0
"""For a guardian of an earlier agent to end its tree; it began when that agent died."""
SWEEP_ROUNDS = 500
STUCK_SECONDS = 2.0
"""In which the very same processes are found although each was killed: a freezer or a disk holds them."""
EMPTY_LOOKS = 2
"""At all processes, where there is no group: one that forks and ends all the time can be missed by a look."""
AGAIN_SECONDS = 0.05
"""Between two tries to read what is there and can not be read."""
MAX_FILE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Rest:
    """What nobody can end of a job without a guardian: a freezer or a disk holds it."""

    pid: int
    cgroup: str
    controllers: tuple[str, ...]


def recover(job: str, directory: Path, patience: float = 1.0) -> Exit | Rest | None:
    """How a job of an earlier agent ended, if its guardian could say. On return nothing of its tree is left but Rest.

    The guardian is given that part of GUARDIAN_SECONDS, and so is a disk that does not give what it has. Raises
    Unavailable for one that takes longer: it is known to nobody then how the job ended.
    """
    held = _at_last(lambda: described(directory), patience)
    until = time.monotonic() + GUARDIAN_SECONDS * patience
    while _at_last(lambda: guardian_lives(held), patience) and time.monotonic() < until:
        time.sleep(0.01)
    _at_last(lambda: _end_guardian(held), patience)
    group, controllers = _group_in(held) or cgroup.of(job), _controllers_in(held)
    left = end_tagged(job, group, controllers)
    if left:
        return Rest(min(left), group, controllers)
    return _at_last(lambda: account_of(directory), patience)


def account_of(directory: Path) -> Exit | None:
    """How the job's guardian wrote that its last run ended; None where there is nothing whole. Raises OSError."""
    ended = _read(directory / "exit.json")
    if not ended:
        return None
    try:
        return exit_in(ended)
    except ValueError as error:
        log.error("%s holds no whole account of the job's end: %s", directory / "exit.json", error)
        return None


def described(directory: Path) -> dict[str, Any]:
    """What the job's guardian wrote of itself; empty when there is nothing whole. Raises OSError: it may be there."""
    return _read(directory / "guardian.json")


def guardian_lives(held: dict[str, Any]) -> bool:
    """Whether that very process is there, not a later one with its number. Raises OSError: it may be there."""
    guardian = held.get("guardian")
    if not isinstance(guardian, dict):
        return False
    pid, start = guardian.get("pid"), guardian.get("start")
    if not isinstance(pid, int) or not isinstance(start, int):
        return False
    fields = trees.looked_at(pid)
    if not fields or fields[0] in "ZX" or int(fields[19]) != start:
        return False
    return trees.boot_id() in ("", held.get("boot_id"))


def _end_guardian(held: dict[str, Any]) -> None:
    """One that should be gone, and hangs. Raises OSError."""
    if guardian_lives(held):
        trees.end_guardian(int(held["guardian"]["pid"]), int(held["guardian"]["start"]))


def end_begun(job: str, directory: Path) -> None:
    """A start came to no end; its guardian may have been gone before it had written anything of it."""
    end_tagged(job, cgroup.of(job), _controllers_in(_if_it_can_be_read(directory)))


def destroy(job: str, directory: Path) -> None:
    """The job is deleted, or its end could not be waited for. Nothing is looked for where its guardian said that it had
    ended all, as nearly always."""
    try:
        held = described(directory)
        if not held or _read(directory / "exit.json"):
            return
    except OSError:
        held = _if_it_can_be_read(directory)
    _end_guardian(held)
    end_tagged(job, _group_in(held) or cgroup.of(job), _controllers_in(held))


def end_tagged(job: str, group: str, controllers: Iterable[str] = ()) -> Collection[int]:
    """Kill what is in the job's cgroup or has its tag, again and again until nothing is found: then none is returned,
    else those that nobody can end.

    Its groups are removed then, those of `controllers` too, and those that its guardian had no time to tell of.
    """
    tag, empty = f"{TAG}={job}", 0
    same: set[int] = set()
    found: set[int] = set()
    since = time.monotonic()
    for round_number in range(SWEEP_ROUNDS):
        if group:
            cgroup.kill(group)
        found = set(trees.with_tag(tag)) | set(cgroup.pids(group) if group else trees.fleeting_with_tag(tag))
        empty = 0 if found else empty + 1
        if empty == (1 if group else EMPTY_LOOKS):
            break
        if found and round_number == 0:
            log.warning("job %s had lost its guardian; %d processes of it are ended", job, len(found))
        if found != same:
            same, since = found, time.monotonic()
        elif found and time.monotonic() - since > STUCK_SECONDS:
            break
        trees.kill_tagged(found, tag)  # cgroup.kill had the others
        time.sleep(trees.PAUSE_SECONDS)
    if found:
        log.error("processes of job %s can not be ended: %s", job, sorted(found))
        return found
    for path in dict.fromkeys((group, *controllers, *version_1.of(job))):
        if path.endswith(f"/{cgroup.PREFIX}{job}"):
            cgroup.remove(path)
    return ()


def _group_in(held: dict[str, Any]) -> str:
    """Of what a guardian wrote; others may have written there since."""
    group = held.get("cgroup")
    return group if isinstance(group, str) else ""


def _controllers_in(held: dict[str, Any]) -> tuple[str, ...]:
    paths = held.get("controllers")
    return tuple(path for path in paths if isinstance(path, str)) if isinstance(paths, list) else ()


def _if_it_can_be_read(directory: Path) -> dict[str, Any]:
    """`described`, for who can do without."""
    with contextlib.suppress(OSError):
        return described(directory)
    return {}


def _at_last(read: Callable[[], T], patience: float) -> T:
    """What is read, once that is possible. Raises Unavailable when it is not for long."""
    until = time.monotonic() + GUARDIAN_SECONDS * patience
    while True:
        try:
            return read()
        except OSError as error:
            if time.monotonic() > until:
                raise Unavailable(f"what its guardian wrote can not be read, or whether it lives: {error}") from None
            time.sleep(AGAIN_SECONDS)


def _read(path: Path) -> dict[str, Any]:
    """Empty when there is nothing whole. Raises OSError when that can not be told."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_FILE_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

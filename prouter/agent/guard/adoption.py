"""Finding the guardian of a job that outlived its agent, and becoming its agent.

Belongs here: knocking at its door, and whether it is the one that it says. Does not: the door itself and what is said
there (held/door.py, held/talk.py), what becomes of a job whose guardian is gone (sweep.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.guard import sweep
from prouter.agent.guard.held import door, trees
from prouter.agent.guard.held.talk import PROTOCOL
from prouter.model.ids import JobUid

log = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
"""For a guardian to answer: it may just be ending a tree, or still be starting the program."""
AGAIN_SECONDS = 0.05
"""Until a guardian that still takes our predecessor for alive is asked again."""
LINE_BYTES = 64 * 1024
NOBODY = (FileNotFoundError, NotADirectoryError, ConnectionRefusedError, PermissionError)
"""What knocking fails with where no guardian of ours waits, and never will."""


@dataclass(frozen=True, slots=True)
class Survival:
    """What guardians do when their agent is gone: wait so long for the next one. None: without end."""

    orphan_seconds: float | None

    def to_wire(self) -> dict[str, Any]:
        endless = self.orphan_seconds is None or math.isinf(self.orphan_seconds)
        return {"orphan_seconds": None if endless else self.orphan_seconds}


@dataclass(frozen=True, slots=True)
class Adopted:
    """A guardian whose agent we are now."""

    answer: Mapping[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def adopt(job: JobUid, directory: Path, survival: Survival | None, patience: float = 1.0) -> Adopted | None:
    """None: nobody waits there, or not the job's guardian, or it takes longer than that part of HELLO_SECONDS."""
    seconds = HELLO_SECONDS * patience
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await _ask(job, directory, survival)
                if not isinstance(found, str):
                    return found
                log.info("the guardian of job %s is not ours yet: %s", job, found)
                await asyncio.sleep(AGAIN_SECONDS)
    except TimeoutError:
        log.error("the guardian of job %s did not become ours within %g s", job, seconds)
        return None


def end_hard(guardian: int, start: int) -> None:
    """A guardian that hangs, and all below it: its keeper knows nothing of us, but it has our user."""
    log.error("guardian %d does not end its tree; it is ended with it", guardian)
    threading.Thread(target=trees.end_guardian, args=(guardian, start)).start()


async def _ask(job: JobUid, directory: Path, survival: Survival | None) -> Adopted | str | None:
    """A text: not now, and why."""
    try:
        reader, writer, pid = await _knock(directory)
    except NOBODY:
        return None
    except OSError as error:  # we may just have no descriptors, or it too many who knock
        return str(error)
    kept = False
    try:
        policy = {"survive": False, "orphan_seconds": None} if survival is None else {"survive": True}
        hello = {"op": "hello", "protocol": PROTOCOL} | policy | (survival.to_wire() if survival is not None else {})
        writer.write(json.dumps(hello).encode() + b"\n")
        answer = json.loads(await reader.readline() or b"{}")
        if "refused" in answer:
            return str(answer["refused"])
        kept = "hello" in answer and answer.get("job") == job and await asyncio.to_thread(_is_its, directory, pid)
        return Adopted(answer, reader, writer) if kept else None
    except (ConnectionError, ValueError, TypeError, AttributeError, RecursionError):
        return None  # it ended meanwhile: how is on disk; or those are no words of a guardian
    except OSError as error:
        return str(error)
    finally:
        if not kept:
            writer.transport.abort()


async def _knock(directory: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """Raises OSError."""
    connected, pid = await asyncio.to_thread(door.knock, str(directory), HELLO_SECONDS)
    try:
        connected.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=connected, limit=LINE_BYTES)
    except BaseException:
        connected.close()
        raise
    return reader, writer, pid


def _is_its(directory: Path, pid: int) -> bool:
    """Whether that process is the one that the job's directory names: same boot, pid and start. Raises OSError."""
    held = sweep.described(directory)
    if sweep.guardian_lives(held) and held["guardian"]["pid"] == pid:
        return True
    log.error("at the door of the guardian in %s answers process %d, which is not the guardian", directory, pid)
    return False
